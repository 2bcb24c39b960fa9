// The one file that includes cpp-httplib, which is a large header. The three macros are those that Debian's library was
// built with.
#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include "tpo/judges/endpoint.h"

#include <httplib.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "tensor/check.h"
#include "tpo/jsonl.h"
#include "tpo/text.h"

namespace thinker {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxBody = 16 << 20;       // a server that never ends its answer must not fill our memory
constexpr int64_t kFailuresInARow = 8;      // questions given up one after the other: the endpoint is dead
constexpr double kLongestPause = 30.0;      // of the back-off
constexpr double kLongestRetryAfter = 600;  // that a server may ask for
constexpr int64_t kTopLogprobs = 5;         // AlpacaEval's

Clock::duration seconds(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

/// Ends what a client is doing at a time. The library's own limits are for each read: a server that sends a byte now
/// and then, or headers without an end, would be waited for forever.
class CutOff {
 public:
  CutOff(httplib::Client& client, Clock::time_point at)
      : thread_([this, &client, at] {
          std::unique_lock lock(mutex_);
          if (!ended_.wait_until(lock, at, [this] { return over_; })) client.stop();
        }) {}
  CutOff(const CutOff&) = delete;
  CutOff& operator=(const CutOff&) = delete;
  ~CutOff() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    ended_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::thread thread_;  // last: it uses the others
};

struct Url {
  std::string origin, path;
};

Url split_url(const std::string& url) {
  const size_t scheme = url.find("://");
  const size_t host = scheme == std::string::npos ? 0 : scheme + 3;
  const size_t slash = std::min(url.find('/', host), url.size());
  std::string path = url.substr(slash);
  while (path.ends_with("/")) path.pop_back();
  return {url.substr(0, slash), path + "/chat/completions"};
}

/// What one try gave.
struct Outcome {
  enum class Kind { answer, again, refused, fatal } kind = Kind::again;
  ChatReply reply;
  std::string reason;        // unless answered
  double retry_after = 0.0;  // seconds
  bool no_connection = false;
};

Outcome failed(Outcome::Kind kind, std::string reason) {
  Outcome outcome;
  outcome.kind = kind;
  outcome.reason = std::move(reason);
  return outcome;
}

/// choices[0].logprobs.content[0].top_logprobs: [{"token", "logprob"}].
std::vector<std::optional<double>> read_logprobs(const Json& choice, const std::vector<std::string>& wanted) {
  const Json& top = choice.at("logprobs").at("content").at(0).at("top_logprobs");
  std::vector<std::optional<double>> found(wanted.size());
  for (const Json& entry : top.get_ref<const Json::array_t&>()) {
    for (size_t i = 0; i < wanted.size(); ++i)
      if (entry.at("token") == wanted[i]) found[i] = entry.at("logprob").get<double>();
  }
  return found;
}

Outcome read_completion(const std::string& body, const ChatOptions& chat) {
  try {
    const Json json = parse_json(body, "answer");
    const Json& choice = json.at("choices").at(0);
    Outcome outcome;
    outcome.kind = Outcome::Kind::answer;
    const Json& content = choice.at("message").at("content");
    if (!content.is_null()) outcome.reply.text = content.get<std::string>();  // null: the model declined
    if (!chat.choices.empty()) outcome.reply.logprobs = read_logprobs(choice, chat.choices);
    return outcome;
  } catch (const Error&) {
    return failed(Outcome::Kind::again, "the answer is not JSON: " + excerpt(body));
  } catch (const Json::exception&) {
    return failed(Outcome::Kind::again, concat("the answer is not a chat completion",
                                               chat.choices.empty() ? "" : " with log-probs", ": ", excerpt(body)));
  }
}

double retry_after_of(const httplib::Response& response) {
  const std::string text = response.get_header_value("Retry-After");  // seconds; the form with a date is not heeded
  char* end = nullptr;
  const double s = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && s > 0 ? std::min(s, kLongestRetryAfter) : 0.0;
}

Outcome read_response(const httplib::Response& response, const std::string& body, const ChatOptions& chat) {
  const int status = response.status;
  if (status == 200) return read_completion(body, chat);
  const std::string reason = concat("HTTP ", status, trim(body).empty() ? "" : ": " + excerpt(body, 120));
  if (status == 400 || status == 413 || status == 422) return failed(Outcome::Kind::refused, reason);
  // A refusal of the key may quote it.
  if (status == 401 || status == 403) return failed(Outcome::Kind::fatal, concat("HTTP ", status, ", not allowed"));
  Outcome outcome = failed(Outcome::Kind::again, reason);
  if (status == 429) outcome.retry_after = retry_after_of(response);
  if (status < 500 && status != 408 && status != 409 && status != 429) outcome.kind = Outcome::Kind::fatal;
  return outcome;
}

}  // namespace

void check_endpoint(const EndpointOptions& options) {
  const bool web = options.url.starts_with("http://") || options.url.starts_with("https://");
  if (!web) fail("judge.endpoint: must begin with http:// or https://, such as http://localhost:8000/v1");
  if (options.url.find('@') != std::string::npos)
    fail("judge.endpoint: holds a \"@\"; a key belongs into the environment, named by \"key_env\"");
  for (char c : options.key_env) {
    if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '_') || options.key_env.size() > 64)
      fail("judge.key_env: is not the name of an environment variable, such as OPENAI_API_KEY");
  }
}

Endpoint::Endpoint(EndpointOptions options, ChatOptions chat) : options_(std::move(options)), chat_(std::move(chat)) {
  check_endpoint(options_);
  const Url url = split_url(options_.url);
  origin_ = url.origin;
  path_ = url.path;
  if (options_.key_env.empty()) return;
  const char* key = std::getenv(options_.key_env.c_str());
  if (!key || !*key) fail("judge.key_env: the environment has no variable of that name");
  key_ = key;
}

/// One call of ask(): questions go out from several threads, replies come back one at a time.
class Endpoint::Work {
 public:
  Work(Endpoint& endpoint, std::span<const ChatQuestion> questions, const OnReply& on_reply)
      : endpoint_(endpoint), options_(endpoint.options_), questions_(questions), on_reply_(on_reply) {}

  void run() {
    std::vector<std::thread> threads;
    const size_t n = std::min(static_cast<size_t>(options_.concurrency), questions_.size());
    for (size_t i = 0; i < n; ++i) threads.emplace_back([this] { work(); });
    for (std::thread& t : threads) t.join();
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  void work() {
    // The library writes to connections that may be gone; the signal would end the program.
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
    try {
      httplib::Client client(endpoint_.origin_);
      client.set_keep_alive(true);
      const auto limit = std::chrono::duration_cast<std::chrono::microseconds>(seconds(options_.timeout_s));
      client.set_connection_timeout(limit);
      client.set_read_timeout(limit);
      client.set_write_timeout(limit);
      while (const auto i = next_question()) answer(client, *i);
    } catch (...) {
      stop(std::current_exception());
    }
  }

  std::optional<size_t> next_question() {
    const std::lock_guard lock(mutex_);
    if (thrown_ || next_ == questions_.size()) return std::nullopt;
    return next_++;
  }

  void answer(httplib::Client& client, size_t i) {
    double pause = options_.backoff_s;
    for (int64_t tries = 0;; ++tries) {
      if (!wait_for_turn()) return;
      const Outcome outcome = post(client, questions_[i].messages);
      if (outcome.kind == Outcome::Kind::fatal) dead(outcome.reason);
      const bool over = outcome.kind != Outcome::Kind::again || tries == options_.retries;
      if (over) return deliver(i, outcome);
      if (outcome.retry_after > 0) hold_all(outcome.retry_after);
      if (!sleep(outcome.retry_after > 0 ? 0.0 : pause)) return;
      pause = std::min(2 * pause, kLongestPause);
    }
  }

  Outcome post(httplib::Client& client, const Messages& messages) const {
    Json body{{"model", options_.model},
              {"messages", messages_to_json(messages)},
              {"temperature", endpoint_.chat_.temperature},
              {"max_tokens", endpoint_.chat_.choices.empty() ? endpoint_.chat_.max_new : 1}};
    if (!endpoint_.chat_.choices.empty()) {
      body["logprobs"] = true;
      body["top_logprobs"] = kTopLogprobs;
    }
    httplib::Request request;
    request.method = "POST";
    request.path = endpoint_.path_;
    request.body = dump_json(body);
    request.headers = {{"Content-Type", "application/json"}};
    if (!endpoint_.key_.empty()) request.headers.emplace("Authorization", "Bearer " + endpoint_.key_);
    const Clock::time_point deadline = Clock::now() + seconds(options_.timeout_s);
    std::string received;
    request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
      received.append(data, size);
      return received.size() <= kMaxBody;
    };
    const CutOff cut_off(client, deadline);
    httplib::Response response;
    httplib::Error error = httplib::Error::Success;
    if (client.send(request, response, error))
      return read_response(response, without_key(std::move(received)), endpoint_.chat_);
    Outcome outcome =
        failed(Outcome::Kind::again,
               Clock::now() >= deadline ? concat("no answer within ", options_.timeout_s, " s") : reason_of(error));
    outcome.no_connection = error == httplib::Error::Connection || error == httplib::Error::ConnectionTimeout ||
                            error == httplib::Error::SSLConnection || error == httplib::Error::SSLServerVerification;
    return outcome;
  }

  static std::string reason_of(httplib::Error error) {
    switch (error) {
      case httplib::Error::Connection:
      case httplib::Error::ConnectionTimeout: return "no connection";
      case httplib::Error::Read:
      case httplib::Error::Write: return "the connection was cut";
      case httplib::Error::Canceled: return "the answer is too long";
      case httplib::Error::SSLConnection:
      case httplib::Error::SSLServerVerification:
      case httplib::Error::SSLLoadingCerts: return "no secure connection (certificate?)";
      default: return "the request failed (" + httplib::to_string(error) + ")";
    }
  }

  /// A server's words go into files; should it repeat our key, they go without it.
  std::string without_key(std::string text) const {
    const std::string& key = endpoint_.key_;
    for (size_t at = 0; !key.empty() && (at = text.find(key, at)) != std::string::npos;)
      text.replace(at, key.size(), "(key)");
    return text;
  }

  void deliver(size_t i, const Outcome& outcome) {
    const std::lock_guard lock(mutex_);
    if (outcome.kind == Outcome::Kind::answer) {
      endpoint_.answered_ = true;
      failures_in_a_row_ = 0;
      on_reply_(i, outcome.reply);
      return;
    }
    const bool given_up = outcome.kind == Outcome::Kind::again;
    if (given_up) ++failures_in_a_row_;
    if (given_up && (outcome.no_connection || !endpoint_.answered_ || failures_in_a_row_ >= kFailuresInARow))
      dead(concat(outcome.reason, ", after ", options_.retries + 1, options_.retries == 0 ? " try" : " tries"));
    on_reply_(i, {"", {}, outcome.reason});
  }

  [[noreturn]] void dead(const std::string& reason) const {
    fail("judge endpoint ", options_.url, " (", excerpt(options_.model), "): ", reason,
         "; what was judged is kept: mend it and run the same command again");
  }

  // ---- time ----

  /// Waits for the next request's turn under the rate limit and after a server's Retry-After. False: stop.
  bool wait_for_turn() {
    std::unique_lock lock(mutex_);
    const Clock::time_point turn = std::max(Clock::now(), next_turn_);
    if (options_.requests_per_minute > 0) next_turn_ = turn + seconds(60 / options_.requests_per_minute);
    // While this one waits, an answer to another may hold all.
    for (auto until = turn; Clock::now() < until && !thrown_; until = std::max(turn, held_until_))
      changed_.wait_until(lock, until, [&] { return thrown_ != nullptr; });
    return !thrown_;
  }

  void hold_all(double s) {
    const std::lock_guard lock(mutex_);
    held_until_ = std::max(held_until_, Clock::now() + seconds(s));
    next_turn_ = std::max(next_turn_, held_until_);
  }

  bool sleep(double s) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, seconds(s), [&] { return thrown_ != nullptr; });
    return !thrown_;
  }

  void stop(std::exception_ptr why) {
    const std::lock_guard lock(mutex_);
    if (!thrown_) thrown_ = std::move(why);
    changed_.notify_all();
  }

  Endpoint& endpoint_;
  const EndpointOptions& options_;
  std::span<const ChatQuestion> questions_;
  const OnReply& on_reply_;

  std::mutex mutex_;  // of all below, and of on_reply_
  std::condition_variable changed_;
  size_t next_ = 0;
  Clock::time_point next_turn_{}, held_until_{};
  int64_t failures_in_a_row_ = 0;
  std::exception_ptr thrown_;
};

void Endpoint::ask(std::span<const ChatQuestion> questions, const OnReply& on_reply) {
  Work(*this, questions, on_reply).run();
}

}  // namespace thinker
