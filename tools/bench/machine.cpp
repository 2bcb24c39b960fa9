#include "tools/bench/machine.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <utility>

#include "tools/bench/work.h"

namespace thinker {

namespace {

void print_share(const std::string& what, double value, const char* unit, double share, const char* of) {
  char text[200];
  std::snprintf(text, sizeof text, "%-58s %9.2f %-9s %5.1f %% of %s", what.c_str(), value, unit, 100.0 * share, of);
  std::cout << text << std::endl;
}

}  // namespace

void print_row(const std::string& what, double value, const char* unit) {
  char text[200];
  std::snprintf(text, sizeof text, "%-58s %9.2f %s", what.c_str(), value, unit);
  std::cout << text << std::endl;
}

Machine::Machine(Device& device, DType t, int64_t repeat) : device_(device), t_(t), repeat_(repeat) {
  const auto product = [&](int64_t m, int64_t n, int64_t k) {
    const double speed = product_speed(device_, t_, m, n, k, repeat_);
    print_row(concat("product ", m, " x ", n, " x ", k), speed, "GFLOP/s");
    return speed;
  };
  const int64_t side = side_of_large_product(device_);
  products_ = product(side, side, side);
  products_ = std::max(products_, product(512, 1536, 576));
  product(512, 49152, 576);
  product(32, 1536, 576);
  product(4096, 384, 128);
  reading_ = reading();
  print_row("reading memory", reading_, "GB/s");
}

double Machine::reading() const {
  constexpr int64_t kRows = 65536, kColumns = 2048;
  const double product =
      0.5 * static_cast<double>(size_of(t_)) * product_speed(device_, t_, 1, kRows, kColumns, repeat_);
  return is_gpu(device_) ? std::max(product, copy_speed(device_, repeat_)) : product;
}

double Machine::products_now() {
  const double before = std::exchange(products_, best_product_speed(device_, t_, repeat_));
  return std::max(before, products_);
}

double Machine::reading_now() {
  const double before = std::exchange(reading_, reading());
  return std::max(before, reading_);
}

void Machine::row_of_products(const std::string& what, double value, const char* unit, double gflops) {
  ++works_;
  print_share(what, value, unit, gflops / products_now(), "products");
}

void Machine::row_of_bandwidth(const std::string& what, double value, const char* unit, double gigabytes) {
  ++works_;
  print_share(what, value, unit, gigabytes / reading_now(), "memory bandwidth");
}

void Machine::row_of_limit(const std::string& what, double value, const char* unit, double gflops, double gigabytes) {
  if (gflops / products_ < gigabytes / reading_)
    row_of_bandwidth(what, value, unit, gigabytes);
  else
    row_of_products(what, value, unit, gflops);
}

}  // namespace thinker
