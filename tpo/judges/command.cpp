#include "tpo/judges/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>
#include <utility>

#include "tensor/check.h"
#include "tpo/text.h"

extern char** environ;

namespace thinker {

namespace {

constexpr size_t kMaxLine = 16 << 20;  // a judge that never ends its line must not fill our memory

/// Writes to a pipe whose reader may be gone: without this the program would die of SIGPIPE. The signal is blocked in
/// this thread only and a pending one is taken off, so that nobody else's handling of it changes.
ssize_t write_quietly(int fd, const char* data, size_t size) {
  sigset_t pipe_signal, before, pending;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  sigpending(&pending);
  const bool was_pending = sigismember(&pending, SIGPIPE) == 1;
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t written = ::write(fd, data, size);
  const int error = errno;
  if (written < 0 && error == EPIPE && !was_pending) {
    const timespec at_once{0, 0};
    while (sigtimedwait(&pipe_signal, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return written;
}

void close_fd(int* fd) {
  if (*fd >= 0) ::close(*fd);
  *fd = -1;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// True when the process ended within the time; *status is then as from waitpid.
bool ended_within(pid_t pid, double seconds, int* status) {
  for (const double until = seconds_now() + seconds;;) {
    const pid_t got = ::waitpid(pid, status, WNOHANG);
    if (got == pid || (got < 0 && errno != EINTR)) return true;
    if (seconds_now() > until) return false;
    ::usleep(2000);
  }
}

}  // namespace

/// One call of judge(): what this process is still to be sent, and who still waits for an answer.
struct CommandJudge::Exchange {
  std::vector<std::string> lines;  // of the views
  std::string to_send;
  size_t sent = 0;
  std::map<int64_t, size_t> waiting;  // our id -> index of the view
  std::vector<Judged> results;
  std::string lost;  // why the process is gone; empty while it lives
};

CommandJudge::CommandJudge(std::string command, double timeout_s)
    : command_(std::move(command)), timeout_s_(timeout_s) {}

CommandJudge::~CommandJudge() {
  stop();
}

void CommandJudge::start() {
  int in[2], out[2], alive[2];
  if (::pipe2(in, O_CLOEXEC) != 0) fail("judge command: no pipe: ", std::strerror(errno));
  if (::pipe2(out, O_CLOEXEC) != 0) {
    ::close(in[0]), ::close(in[1]);
    fail("judge command: no pipe: ", std::strerror(errno));
  }
  if (::pipe2(alive, O_CLOEXEC) != 0) {
    ::close(in[0]), ::close(in[1]), ::close(out[0]), ::close(out[1]);
    fail("judge command: no pipe: ", std::strerror(errno));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, alive[0], 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP);  // a group of its own, so that a shell's children end with it
  posix_spawnattr_setpgroup(&attributes, 0);
  // Should this program be killed, the judge must not be left behind: a second process waits for the end of its input
  // as the judge does, and then ends the whole group. So it is /bin/sh -c KEEPER sh COMMAND, with a pipe as 3.
  char shell[] = "/bin/sh", option[] = "-c", name[] = "sh";
  // (It is nobody's child, so that a judge may wait for its own.)
  char keeper[] =
      "( (read -r nothing <&3; kill -KILL 0) </dev/null >/dev/null 2>&1 & ); exec 3<&-; exec /bin/sh -c \"$1\"";
  char* const arguments[] = {shell, option, keeper, name, command_.data(), nullptr};
  const int error = ::posix_spawn(&pid_, shell, &actions, &attributes, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  ::close(in[0]), ::close(out[1]), ::close(alive[0]);
  to_ = in[1];
  from_ = out[0];
  alive_ = alive[1];
  received_.clear();
  answered_ = false;
  if (error != 0) {
    pid_ = -1;
    stop();
    fail("judge command \"", excerpt(command_), "\" cannot be started: ", std::strerror(error));
  }
  ::fcntl(to_, F_SETFL, O_NONBLOCK);
  ::fcntl(from_, F_SETFL, O_NONBLOCK);
}

/// Closes its stdin, which tells a well-behaved program to end; one that stays is killed with its group.
void CommandJudge::stop() noexcept {
  close_fd(&to_);
  close_fd(&from_);
  if (pid_ >= 0) {
    int status = 0;
    const bool ended = ended_within(pid_, 0.5, &status);
    ::kill(-pid_, SIGKILL);
    if (!ended) ended_within(pid_, 5, &status);
    pid_ = -1;
  }
  close_fd(&alive_);
}

/// For a process whose stdout is closed: waits for its status, and says what it was.
std::string CommandJudge::how_it_ended() {
  close_fd(&to_);
  int status = 0;
  if (!ended_within(pid_, 1, &status)) return "closed its output";
  ::kill(-pid_, SIGKILL);  // what it may have left behind
  pid_ = -1;
  if (WIFSIGNALED(status)) return concat("was ended by signal ", WTERMSIG(status));
  return concat("ended with exit status ", WEXITSTATUS(status));
}

void CommandJudge::protocol_error(const std::string& reason, const std::string& line) {
  stop();
  fail("judge command \"", excerpt(command_), "\" ", reason, ": ", excerpt(line, 120),
       "; it must print {\"id\", \"score\"} or {\"id\", \"error\"} lines only");
}

void CommandJudge::take_line(const std::string& line, Exchange* exchange) {
  if (trim(line).empty()) return;
  Json answer;
  try {
    answer = parse_json(line, "");
  } catch (const Error&) {
    protocol_error("printed a line that is not JSON", line);
  }
  if (!answer.is_object() || !answer.contains("id")) protocol_error("printed a line without an \"id\"", line);
  const auto waiting =
      answer["id"].is_number_integer() ? exchange->waiting.find(answer["id"].get<int64_t>()) : exchange->waiting.end();
  if (waiting == exchange->waiting.end()) protocol_error("answered an \"id\" that waits for no answer", line);

  Judged& result = exchange->results[waiting->second];
  result.answer = line;
  if (const auto error = answer.find("error"); error != answer.end() && !error->is_null()) {
    result.error = error->is_string() ? error->get<std::string>() : error->dump();
    if (result.error.empty()) result.error = "the judge command gave no reason";
  } else if (const auto score = answer.find("score");
             score != answer.end() && score->is_number() && std::isfinite(score->get<double>())) {
    result.score = score->get<double>();
  } else {
    protocol_error("gave neither a numeric \"score\" nor an \"error\"", line);
  }
  exchange->waiting.erase(waiting);
  answered_ = true;
}

/// Sends and receives at the same time (a judge that answers at once would otherwise block on a full pipe, and we on
/// ours), until all views are answered or the process is lost.
void CommandJudge::run(Exchange* exchange, const OnJudged& on_judged) {
  double last_sign = seconds_now();
  std::vector<char> buffer(1 << 16);
  while (!exchange->waiting.empty()) {
    if (on_judged) on_judged(static_cast<int64_t>(exchange->results.size() - exchange->waiting.size()));
    const bool sending = to_ >= 0 && exchange->sent < exchange->to_send.size();
    pollfd fds[2] = {{from_, POLLIN, 0}, {sending ? to_ : -1, POLLOUT, 0}};
    const double left = last_sign + timeout_s_ - seconds_now();
    const int ready = left > 0 ? ::poll(fds, 2, static_cast<int>(std::min(left, 1e6) * 1000) + 1) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      exchange->lost = concat("gave no sign for ", timeout_s_, " s");
      return;
    }
    if (fds[1].revents != 0) {
      const ssize_t n =
          write_quietly(to_, exchange->to_send.data() + exchange->sent, exchange->to_send.size() - exchange->sent);
      if (n > 0) exchange->sent += static_cast<size_t>(n), last_sign = seconds_now();
      if (n < 0 && errno != EAGAIN && errno != EINTR)
        close_fd(&to_);  // it reads no more; it may still answer what it has
    }
    if (fds[0].revents == 0) continue;
    const ssize_t n = ::read(from_, buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) {
      // A whole answer may lack its newline; half a one is of a judge that died, and asked again.
      if (Json::accept(received_)) take_line(std::exchange(received_, {}), exchange);
      if (!exchange->waiting.empty()) exchange->lost = how_it_ended();
      return;
    }
    last_sign = seconds_now();
    received_.append(buffer.data(), static_cast<size_t>(n));
    size_t begin = 0;
    for (size_t end; (end = received_.find('\n', begin)) != received_.npos; begin = end + 1)
      take_line(received_.substr(begin, end - begin), exchange);
    received_.erase(0, begin);
    if (received_.size() > kMaxLine) protocol_error("printed a line without an end", received_);
  }
}

/// Has the process asked all that waits, and starts one where there is none.
void CommandJudge::give(Exchange* exchange) {
  if (pid_ < 0) start();
  exchange->to_send.clear();
  exchange->sent = 0;
  exchange->lost.clear();
  for (const auto& [id, view] : exchange->waiting) exchange->to_send += exchange->lines[view];
}

std::vector<Judged> CommandJudge::judge(std::span<const JudgeView> views, const OnJudged& on_judged) {
  Exchange exchange;
  exchange.results.resize(views.size());
  for (size_t i = 0; i < views.size(); ++i) {
    Json line = {{"id", next_id_}};
    line.update(views[i].to_json());
    exchange.lines.push_back(dump_json(line) + "\n");
    exchange.waiting[next_id_++] = i;
  }
  // Every process that is started here answers something, or is the last: so this ends.
  while (!exchange.waiting.empty()) {
    give(&exchange);
    const JudgeView& first = views[exchange.waiting.begin()->second];
    try {
      run(&exchange, on_judged);
    } catch (...) {
      stop();  // what it still answers, nobody would read
      throw;
    }
    if (exchange.lost.empty()) break;
    stop();
    if (!answered_)
      fail("judge command \"", excerpt(command_), "\" ", exchange.lost,
           " without an answer; try it by hand with one line of input: it was given first the response \"",
           excerpt(first.response()), "\" to \"", excerpt(first.prompt().back().content), "\"");
  }
  return exchange.results;
}

}  // namespace thinker
