// What the device can do at the moment, beside the work that is held against it.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/device.h"

namespace thinker {

/// Prints a row of the benchmark: NAME VALUE UNIT.
void print_row(const std::string& what, double value, const char* unit);

/// The measure of all shares. On a shared host it doubles and halves within a minute, by what the neighbours do, so a
/// share is of the faster of two measurements: the last one before the work and one right after it.
class Machine {
 public:
  /// Measures products and memory, with a row for each; t: of the products' factors.
  Machine(Device& device, DType t, int64_t repeat);

  /// A row of work that has just been done, at `gflops` GFLOP/s.
  void row_of_products(const std::string& what, double value, const char* unit, double gflops);
  /// A row of work that has just been done, which read `gigabytes` GB/s.
  void row_of_bandwidth(const std::string& what, double value, const char* unit, double gigabytes);
  /// The same for work that did both: against the one of which it took more of what the device can do.
  void row_of_limit(const std::string& what, double value, const char* unit, double gflops, double gigabytes);

  /// Rows of work so far.
  int64_t works() const { return works_; }

 private:
  /// The faster of what was measured last and of a new measurement.
  double products_now();
  double reading_now();
  /// GB/s of reading memory far larger than any cache: a product with one row. A GPU's library may be slow at that:
  /// there a copy counts where it is faster, what it reads and what it writes.
  double reading() const;

  Device& device_;
  DType t_;
  int64_t repeat_;
  double products_ = 0.0, reading_ = 0.0;
  int64_t works_ = 0;
};

}  // namespace thinker
