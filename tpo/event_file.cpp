#include "tpo/event_file.h"

#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include "tensor/check.h"

namespace thinker {

static_assert(std::endian::native == std::endian::little);

namespace {

/// CRCs of the 256 bytes; the polynomial is written with its lowest power first.
constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
    table[i] = crc;
  }
  return table;
}

template <class T>
std::string fixed(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>((value & 127) | 128);
  return bytes + static_cast<char>(value);
}

/// How a field's value is stored: the low three bits of its key.
enum class Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

std::string key(int field, Wire wire) {
  return varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire));
}

std::string bytes_field(int field, const std::string& value) {
  return key(field, Wire::bytes) + varint(value.size()) + value;
}

/// Every message begins with it, so that read_wall_times finds it at the front.
std::string wall_time_field(double seconds) {
  return key(1, Wire::fixed64) + fixed(seconds);
}

std::string frame(const std::string& message) {
  const std::string length = fixed(static_cast<uint64_t>(message.size()));
  return length + fixed(masked_crc32c(length)) + message + fixed(masked_crc32c(message));
}

template <class T>
T read_fixed(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

/// Takes one frame off the front; nothing when it is torn or damaged.
std::optional<std::string_view> take_message(std::string_view* file) {
  constexpr size_t kHead = 12, kTail = 4;
  if (file->size() < kHead + kTail) return std::nullopt;
  const auto length = read_fixed<uint64_t>(*file);
  if (read_fixed<uint32_t>(file->substr(8)) != masked_crc32c(file->substr(0, 8))) return std::nullopt;
  if (length > file->size() - kHead - kTail) return std::nullopt;
  const std::string_view message = file->substr(kHead, length);
  if (read_fixed<uint32_t>(file->substr(kHead + length)) != masked_crc32c(message)) return std::nullopt;
  file->remove_prefix(kHead + length + kTail);
  return message;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~0u;
  for (char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 255];
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

std::string event_record(const ScalarEvent& event) {
  ENSURE(event.step >= 0, "an event at step ", event.step);
  std::string message = wall_time_field(event.wall_time);
  message += key(2, Wire::varint) + varint(static_cast<uint64_t>(event.step));
  std::string summary;
  for (const auto& [tag, value] : event.scalars)
    summary += bytes_field(1, bytes_field(1, tag) + key(2, Wire::fixed32) + fixed(static_cast<float>(value)));
  if (!summary.empty()) message += bytes_field(5, summary);
  return frame(message);
}

std::string version_record(double wall_time) {
  return frame(wall_time_field(wall_time) + bytes_field(3, "brain.Event:2"));
}

std::vector<double> read_wall_times(std::string_view file) {
  std::vector<double> times;
  while (const auto message = take_message(&file)) {
    if (message->size() < 9 || message->front() != wall_time_field(0).front()) break;
    times.push_back(read_fixed<double>(message->substr(1)));
  }
  return times;
}

}  // namespace thinker
