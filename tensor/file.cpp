#include "tensor/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "tensor/check.h"

namespace thinker {
namespace {

// Large enough that a checkpoint's small tensors cost few system calls.
constexpr size_t kBufferBytes = size_t{1} << 20;

/// An open file that is closed when the scope ends.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

std::string error_text(int code) {
  return std::strerror(code);
}

/// Opens for reading and fills `info`; never waits for the other end of a pipe when `flags` hold O_NONBLOCK.
Descriptor open_to_read(const std::string& path, int flags, struct stat& info) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags)};
  if (file.fd < 0 && errno == ENOENT) fail(path, ": no such file");
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0) fail(path, ": cannot be read: ", error_text(errno));
  if (S_ISDIR(info.st_mode)) fail(path, ": is a folder, expected a file");
  return file;
}

/// Large files in Git repositories are often cloned as a three-line text that stands for the file.
void reject_lfs_pointer(const std::string& path, std::span<const std::byte> bytes) {
  constexpr std::string_view kPointer = "version https://git-lfs.github.com/spec/";
  if (bytes.size() >= kPointer.size() && std::memcmp(bytes.data(), kPointer.data(), kPointer.size()) == 0)
    fail(path, ": is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`");
}

}  // namespace

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  struct stat info;
  Descriptor file = open_to_read(path_, O_NONBLOCK, info);
  if (!S_ISREG(info.st_mode)) fail(path_, ": is not a regular file and cannot be mapped into memory");
  if (info.st_size == 0) fail(path_, ": is empty");
  const size_t size = static_cast<size_t>(info.st_size);
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (start == MAP_FAILED) fail(path_, ": cannot be mapped into memory: ", error_text(errno));
  bytes_ = {static_cast<const std::byte*>(start), size};
  try {
    reject_lfs_pointer(path_, bytes_);
  } catch (...) {
    ::munmap(start, size);
    throw;
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  std::error_code ignored;
  if (std::filesystem::is_symlink(path_, ignored)) {
    // A link to nothing stays as it is, and is replaced by the file.
    const auto target = std::filesystem::canonical(path_, ignored);
    if (!target.empty()) path_ = target.string();
  }
  struct stat old;
  const bool exists = ::stat(path_.c_str(), &old) == 0;
  if (exists && S_ISDIR(old.st_mode)) fail(path_, ": is a folder, cannot write a file of that name");
  if (exists && !S_ISREG(old.st_mode)) fail(path_, ": is not a regular file and cannot be replaced");

  temporary_ = path_ + ".tmp";
  while (descriptor_ < 0) {
    Descriptor file{::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)};
    if (file.fd < 0 && errno == ENOENT) fail(path_, ": cannot be written: its folder does not exist");
    if (file.fd < 0) fail(path_, ": cannot be written: ", temporary_, ": ", error_text(errno));
    // File systems without locks (some network ones) report another error, and we go on without.
    if (::flock(file.fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      fail(path_, ": another process is writing this file");
    // Between open and lock another writer may have renamed or removed the file that we opened: then try again.
    struct stat ours, named;
    if (::fstat(file.fd, &ours) != 0) fail(path_, ": cannot be written: ", error_text(errno));
    if (::stat(temporary_.c_str(), &named) == 0 && ours.st_ino == named.st_ino && ours.st_dev == named.st_dev)
      descriptor_ = std::exchange(file.fd, -1);
  }
  if (::ftruncate(descriptor_, 0) != 0) fail_with_errno("cannot be written");
  if (exists && ::fchmod(descriptor_, old.st_mode & 07777) != 0) fail_with_errno("cannot keep its permissions");
  buffer_.reserve(kBufferBytes);
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::discard() noexcept {
  if (descriptor_ < 0) return;
  ::unlink(temporary_.c_str());  // before close, while the lock is still ours
  ::close(std::exchange(descriptor_, -1));
}

void AtomicFile::fail_with_errno(std::string_view what) {
  const int code = errno;  // before discard() changes it
  discard();
  fail(path_, ": ", what, ": ", error_text(code));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  ENSURE(descriptor_ >= 0, path_, ": written to after commit() or a failed write");
  if (buffer_.size() + bytes.size() > kBufferBytes) {
    write_out(buffer_);
    buffer_.clear();
  }
  if (bytes.size() > kBufferBytes)
    write_out(bytes);
  else
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void AtomicFile::write_out(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_with_errno("cannot be written");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void AtomicFile::commit() {
  ENSURE(descriptor_ >= 0, path_, ": committed twice, or after a failed write");
  write_out(buffer_);
  // Network file systems and quotas report a full disk only here.
  if (::fsync(descriptor_) != 0) fail_with_errno("cannot be synced to disk");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_with_errno("cannot be put in place");
  ::close(std::exchange(descriptor_, -1));

  // The new name is an entry of the folder and survives a power cut only once that is on disk too.
  std::string folder = std::filesystem::path(path_).parent_path().string();
  if (folder.empty()) folder = ".";
  Descriptor entry{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  // A folder without read permission, or a file system that cannot sync folders, is no failure: the file is in place.
  if (entry.fd >= 0 && ::fsync(entry.fd) != 0 && errno == EIO)
    fail(folder, ": cannot be synced to disk: ", error_text(EIO));
}

FolderLock::FolderLock(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(folder, ": the folder cannot be made: ", error.message());
  Descriptor file{::open((folder + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)};
  if (file.fd < 0) fail(folder, ": cannot be written to: ", error_text(errno));
  if (::flock(file.fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    fail(folder, ": another process works in this folder; wait for it, or end it first");
  descriptor_ = std::exchange(file.fd, -1);
}

FolderLock::~FolderLock() {
  ::close(descriptor_);
}

void write_file_atomically(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_text_file(const std::string& path) {
  struct stat info;
  Descriptor file = open_to_read(path, 0, info);
  std::string text;
  size_t used = 0;
  for (;;) {
    // One byte more than the file has, so that its end is seen without growing again.
    if (used == text.size()) text.resize(used == 0 ? static_cast<size_t>(info.st_size) + 1 : 2 * used + kBufferBytes);
    const ssize_t n = ::read(file.fd, text.data() + used, text.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, ": cannot be read: ", error_text(errno));
    if (n == 0) break;
    used += static_cast<size_t>(n);
  }
  text.resize(used);
  return text;
}

std::string printable(std::string_view name) {
  constexpr size_t kMaxShown = 80;
  std::string text(name.substr(0, kMaxShown));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return "'" + text + (name.size() > kMaxShown ? "…'" : "'");
}

}  // namespace thinker
