// Files: a read-only memory map, writes that either happen completely or not at all, and whole text files.
//
// Every file that a run leaves is written under the temporary name PATH.tmp, synced, and renamed over PATH: a reader,
// and a run that was killed and is resumed, only ever sees the old file or the complete new one. The temporary name
// is fixed, so what a killed process left is overwritten by the next write and never piles up; a lock on it keeps two
// processes from writing the same file at once.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace thinker {

/// A whole file, mapped read-only; the bytes stay valid and in place for as long as this object (or the object it was
/// moved to) lives. As with every map, a file that another process cuts short meanwhile ends the program (SIGBUS);
/// files that Thinker writes are replaced by renaming and never cut.
class MappedFile {
 public:
  /// Throws Error when the file is missing, unreadable, empty, not a regular file, or a Git LFS pointer.
  explicit MappedFile(std::string path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

/// A file that appears under its name only in commit(). Without commit() the destructor removes the temporary file.
/// When PATH exists its permissions are kept, and a symbolic link is followed instead of replaced.
class AtomicFile {
 public:
  /// Throws Error when PATH is a folder or device, its folder is missing, or another process is writing it.
  explicit AtomicFile(std::string path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  /// Appends. Throws Error naming the file when the disk is full or any write fails; the temporary file is then
  /// removed and this object can no longer be written to or committed.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Writes what is buffered, syncs the file, renames it to PATH and syncs the folder. Throws Error like write().
  void commit();

 private:
  void write_out(std::span<const std::byte> bytes);
  void discard() noexcept;
  [[noreturn]] void fail_with_errno(std::string_view what);

  std::string path_;       // where the file shall appear, symbolic links resolved
  std::string temporary_;  // where it is written until then
  int descriptor_ = -1;    // -1: committed, or given up after a failure
  std::vector<std::byte> buffer_;
};

/// Holds FOLDER/.lock for as long as it lives, so that of two processes that work in a folder one is told. The lock
/// goes with the process, however it ends; the empty file stays.
class FolderLock {
 public:
  /// Makes the folder where it is missing. Throws Error when another process holds the lock.
  explicit FolderLock(const std::string& folder);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  int descriptor_ = -1;
};

/// Writes the whole text under PATH, or leaves PATH as it was and throws Error.
void write_file_atomically(const std::string& path, std::string_view text);

/// The whole file as it is (no newline conversion); an empty file gives "". Reads pipes such as /dev/stdin too.
/// Throws Error when the file is missing, unreadable or a folder.
std::string read_text_file(const std::string& path);

/// A name from an untrusted file as errors show it: 'quoted', shortened, without control characters.
std::string printable(std::string_view name);

}  // namespace thinker
