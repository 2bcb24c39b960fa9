// TensorBoard's event files: records in TFRecord frames, each an Event message of Protocol Buffers. The few fields that
// scalars need are encoded here by hand.
//
//     frame    length (8 bytes), masked CRC of the length (4), the message, masked CRC of the message (4)
//     Event    1: wall_time (double)   2: step (varint)   3: file_version (text), the first record's   5: summary
//     Summary  1: Value, repeated      Value  1: tag (text)   2: simple_value (float)
//
// Numbers are little-endian. A reader takes records until a frame is torn or its CRC is wrong: a file whose writer died
// is read up to there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace thinker {

/// CRC-32C (Castagnoli): 0xE3069283 for "123456789".
uint32_t crc32c(std::string_view bytes);

/// The CRC as TFRecord stores it: rotated and shifted, since the CRC of data that holds its own CRC says little.
uint32_t masked_crc32c(std::string_view bytes);

struct ScalarEvent {
  double wall_time = 0.0;                               // seconds since 1970
  int64_t step = 0;                                     // at least 0
  std::vector<std::pair<std::string, double>> scalars;  // tag, value; stored as float
};

/// The frame of one event.
std::string event_record(const ScalarEvent& event);

/// The frame that a file begins with: wall_time and the version "brain.Event:2".
std::string version_record(double wall_time);

/// The wall times of a file's whole records, the version's among them.
std::vector<double> read_wall_times(std::string_view file);

}  // namespace thinker
