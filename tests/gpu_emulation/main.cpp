// The tests that compare a GPU with the CPU or with golden values, on the emulated one.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>

int main(int argc, char** argv) {
  setenv("THINKER_TEST_DEVICE", "cuda", 1);
  doctest::Context context(argc, argv);
  if (argc == 1) context.addFilter("test-case", "every op*,a GPU*,*goldens*,another device*,emulated*");
  return context.run();
}
