// A small HTTP server for tests, on plain sockets so that it can misbehave in every way: a handler gets each request as
// it came and returns the bytes to send back; then the connection is closed.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/tensor/temp_folder.h"

namespace thinker {

class HttpServer {
 public:
  /// Gets head and body; returns the raw answer, "" to cut the connection at once. Called from several threads.
  using Handler = std::function<std::string(const std::string& head, const std::string& body)>;

  explicit HttpServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    REQUIRE(::listen(listener_, 64) == 0);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer() { stop(); }

  /// From now on connections are refused.
  void stop() {
    if (!acceptor_.joinable()) return;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    for (std::thread& t : workers_) t.join();
  }

  /// From now on answers are sent a byte at a time, with a pause after each.
  void drip(std::chrono::milliseconds pause) { pause_ = pause; }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1"; }

  /// All bytes that came, of all requests.
  std::string received() const {
    const std::lock_guard lock(mutex_);
    return received_;
  }
  int requests() const { return requests_; }

  static std::string response(int status, const std::string& body, const std::string& headers = "") {
    return "HTTP/1.1 " + std::to_string(status) +
           " X\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\nConnection: close\r\n" + headers + "\r\n" + body;
  }

 private:
  void accept_all() {
    for (int fd; (fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;)
      workers_.emplace_back([this, fd] { serve(fd); });
  }

  void serve(int fd) {
    std::string text;
    char buffer[4096];
    size_t head = std::string::npos, length = 0;
    while (head == std::string::npos || text.size() < head + length) {
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      text.append(buffer, static_cast<size_t>(n));
      if (head != std::string::npos || text.find("\r\n\r\n") == std::string::npos) continue;
      head = text.find("\r\n\r\n") + 4;
      if (const char* at = ::strcasestr(text.c_str(), "content-length:")) length = std::stoul(at + 15);
    }
    if (head != std::string::npos) {
      ++requests_;
      {
        const std::lock_guard lock(mutex_);
        received_ += text;
      }
      const std::string answer = handler_(text.substr(0, head), text.substr(head));
      const size_t piece = pause_.load().count() > 0 ? 1 : answer.size();
      for (size_t at = 0; at < answer.size(); at += piece) {
        if (::send(fd, answer.data() + at, piece, MSG_NOSIGNAL) <= 0) break;
        std::this_thread::sleep_for(pause_.load());
      }
    }
    ::close(fd);
  }

  Handler handler_;
  int listener_ = -1, port_ = 0;
  std::thread acceptor_;
  std::vector<std::thread> workers_;
  std::atomic<int> requests_ = 0;
  std::atomic<std::chrono::milliseconds> pause_{std::chrono::milliseconds(0)};
  mutable std::mutex mutex_;
  std::string received_;
};

}  // namespace thinker
