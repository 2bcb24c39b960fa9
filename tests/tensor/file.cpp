#include "tensor/file.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <utility>

#include "tests/tensor/temp_folder.h"

using namespace thinker;
namespace fs = std::filesystem;

namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

size_t files_in(const TempFolder& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()));
}

/// Lowers the size that a file may reach, as a full disk would, until the scope ends.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit lowered{bytes, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &lowered) == 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_;
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("a mapped file shows the file's bytes, also after a move") {
  TempFolder folder;
  MappedFile a(folder.write("a", "first"));
  MappedFile b(folder.write("b", "second"));
  CHECK(text_of(a) == "first");
  MappedFile moved(std::move(a));
  CHECK(text_of(moved) == "first");
  moved = std::move(b);
  CHECK(text_of(moved) == "second");
  CHECK(moved.path() == folder / "b");
}

TEST_CASE("what cannot be mapped gives one clear error") {
  TempFolder folder;
  CHECK(holds(error_of([&] { MappedFile(folder / "none"); }), "none: no such file"));
  CHECK(holds(error_of([&] { MappedFile(folder.path()); }), "is a folder"));
  CHECK(holds(error_of([&] { MappedFile(folder.write("empty", "")); }), "empty: is empty"));
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
  CHECK(holds(error_of([&] { MappedFile(folder.write("model.gguf", pointer)); }), "git lfs pull"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(holds(error_of([&] { MappedFile(folder / "pipe"); }), "is not a regular file"));  // and does not wait
}

TEST_CASE("text files are read whole, of any size") {
  TempFolder folder;
  CHECK(read_text_file(folder.write("empty", "")) == "");
  const std::string text("a\r\nb\0c\n", 7);
  CHECK(read_text_file(folder.write("text", text)) == text);
  CHECK(!read_text_file("/proc/self/status").empty());  // says it has no bytes
  const std::string large(3'000'001, 'x');
  CHECK((read_text_file(folder.write("large", large)) == large));
  CHECK(holds(error_of([&] { read_text_file(folder / "none"); }), "no such file"));
  CHECK(holds(error_of([&] { read_text_file(folder.path()); }), "is a folder"));
}

TEST_CASE("an atomic file appears in commit and not before") {
  TempFolder folder;
  const std::string path = folder.write("f", "old");
  {
    AtomicFile file(path);
    file.write("new");
    CHECK(read_text_file(path) == "old");
    file.commit();
    CHECK(read_text_file(path) == "new");
    CHECK_THROWS_AS(file.commit(), Error);
    CHECK_THROWS_AS(file.write("more"), Error);
  }
  {
    AtomicFile file(path);
    file.write("never seen");
  }
  CHECK(read_text_file(path) == "new");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("an atomic file keeps the order of small and large writes") {
  TempFolder folder;
  const std::string path = folder / "f", large(2'500'000, 'L');
  AtomicFile file(path);
  std::string expected;
  for (int i = 0; i < 3; ++i) {
    for (const std::string& part : {std::string("small"), large, std::string(700'000, 'm'), std::string()}) {
      file.write(part);
      expected += part;
    }
  }
  file.commit();
  CHECK((read_text_file(path) == expected));
}

TEST_CASE("what a killed process left is overwritten") {
  TempFolder folder;
  folder.write("f.tmp", "half of something much longer");
  write_file_atomically(folder / "f", "whole");
  CHECK(read_text_file(folder / "f") == "whole");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("two writers of one file: the second is told, the first is not disturbed") {
  TempFolder folder;
  const std::string path = folder / "f";
  AtomicFile first(path);
  first.write("first");
  CHECK(holds(error_of([&] { AtomicFile second(path); }), "another process is writing"));
  first.commit();
  CHECK(read_text_file(path) == "first");
  write_file_atomically(path, "third");
  CHECK(read_text_file(path) == "third");
}

TEST_CASE("a full disk gives one error naming the file, and leaves the old file and nothing else") {
  TempFolder folder;
  const std::string path = folder.write("f", "old"), large(3'000'000, 'x');
  std::string in_write, in_commit;
  {
    FileSizeLimit limit(1000);
    in_write = error_of([&] {
      AtomicFile file(path);
      CHECK_THROWS_AS(file.write(large), Error);
      file.commit();
    });
    in_commit = error_of([&] { write_file_atomically(path, std::string(2000, 'x')); });
  }
  CHECK(holds(in_write, "after a failed write"));
  CHECK(holds(in_commit, path + ": cannot be written: "));
  CHECK(!holds(in_commit, "\n"));
  CHECK(read_text_file(path) == "old");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("places that cannot be written") {
  TempFolder folder;
  CHECK(holds(error_of([&] { AtomicFile(folder / "none/f"); }), "its folder does not exist"));
  CHECK(holds(error_of([&] { AtomicFile(folder.path()); }), "is a folder"));
  CHECK(holds(error_of([] { AtomicFile("/dev/null"); }), "is not a regular file"));
  // A name planted in a shared folder is not followed.
  fs::create_symlink(folder.write("victim", "precious"), folder / "f.tmp");
  CHECK_THROWS_AS(write_file_atomically(folder / "f", "text"), Error);
  CHECK(read_text_file(folder / "victim") == "precious");
}

TEST_CASE("links are followed and permissions kept") {
  TempFolder folder;
  const std::string path = folder.write("target", "old");
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
  fs::create_symlink("target", folder / "link");
  write_file_atomically(folder / "link", "new");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(read_text_file(path) == "new");
  CHECK(fs::status(path).permissions() == (fs::perms::owner_read | fs::perms::owner_write));
}

TEST_CASE("quoted names are short and printable") {
  CHECK(printable("blk.0") == "'blk.0'");
  CHECK(printable("a\nb\x1b[0m") == "'a?b?[0m'");
  CHECK(printable(std::string(1000, 'x')).size() < 100);
}
