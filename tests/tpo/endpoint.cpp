// The client of chat endpoints against a server that misbehaves in every way we could think of.
#include "tpo/judges/endpoint.h"

#include <cstdlib>
#include <mutex>
#include <set>

#include "tests/tpo/http_server.h"
#include "tpo/jsonl.h"

using namespace thinker;

namespace {

using Clock = std::chrono::steady_clock;

std::string completion(const std::string& text) {
  return Json{{"choices", Json::array({{{"index", 0}, {"message", {{"role", "assistant"}, {"content", text}}}}})}}
      .dump();
}

std::string ok(const std::string& text) {
  return HttpServer::response(200, completion(text));
}

EndpointOptions options_for(const HttpServer& server) {
  EndpointOptions options;
  options.url = server.url();
  options.model = "judge";
  options.concurrency = 1;
  options.timeout_s = 0.2;
  options.retries = 2;
  options.backoff_s = 0.002;
  return options;
}

std::vector<ChatQuestion> questions(int n) {
  std::vector<ChatQuestion> list;
  for (int i = 0; i < n; ++i) list.push_back({{{"user", "question " + std::to_string(i)}}, 0});
  return list;
}

std::vector<ChatReply> ask(Endpoint& endpoint, int n) {
  std::vector<ChatReply> replies(n, ChatReply{"", {}, "never called"});
  endpoint.ask(questions(n), [&](size_t i, const ChatReply& reply) { replies[i] = reply; });
  return replies;
}

/// What becomes of one question when the server gives these answers, one after the other, the last one for ever. The
/// error that is thrown, or the reply's, or its text.
struct Told {
  std::string thrown, error, text;
  int requests = 0;
};

Told tell(const std::vector<std::string>& answers, int n = 1, ChatOptions chat = {}) {
  std::atomic<size_t> next = 0;
  HttpServer server(
      [&](const std::string&, const std::string&) { return answers[std::min(next++, answers.size() - 1)]; });
  Told told;
  told.thrown = error_of([&] {
    Endpoint endpoint(options_for(server), chat);
    const ChatReply reply = ask(endpoint, n).back();
    told.error = reply.error;
    told.text = reply.text;
  });
  told.requests = server.requests();
  return told;
}

}  // namespace

TEST_CASE("endpoint: the request is an OpenAI chat completion with the key of the environment") {
  ::setenv("THINKER_TEST_KEY", "sk-secret-5521", 1);
  HttpServer server([](const std::string&, const std::string&) { return ok("[[A]] é"); });
  EndpointOptions options = options_for(server);
  options.url += "/";
  options.key_env = "THINKER_TEST_KEY";
  Endpoint endpoint(options, {.temperature = 0.5, .max_new = 77, .choices = {}});
  const auto replies = ask(endpoint, 1);
  CHECK(replies[0].error == "");
  CHECK(replies[0].text == "[[A]] é");
  const std::string sent = server.received();
  CHECK(sent.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
  CHECK(holds(sent, "Authorization: Bearer sk-secret-5521\r\n"));
  const Json body = Json::parse(sent.substr(sent.find("\r\n\r\n") + 4));
  CHECK(body.dump() == R"({"model":"judge","messages":[{"role":"user","content":"question 0"}],"temperature":0.5,)"
                       R"("max_tokens":77})");
  options.key_env = "";
  Endpoint open(options, {});
  ask(open, 1);
  CHECK(!holds(server.received().substr(sent.size()), "Authorization"));
  options.key_env = "THINKER_NO_SUCH_KEY";
  CHECK(holds(error_of([&] { Endpoint(options, {}); }), "judge.key_env"));
}

TEST_CASE("endpoint: what passes is tried again, what does not is not") {
  const std::string busy = HttpServer::response(503, "busy"), error = HttpServer::response(500, "{\"error\": 1}"),
                    garbage = HttpServer::response(200, "<html>hello</html>"),
                    schema = HttpServer::response(200, R"({"choices": []})"), cut = "",
                    half = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"choi", noise = "\x01\x02 what?\r\n\r\n";
  for (const std::string& passing : {busy, error, garbage, schema, cut, half, noise, HttpServer::response(429, "slow"),
                                     HttpServer::response(408, "")}) {
    INFO(passing);
    const Told told = tell({passing, passing, ok("yes")});
    CHECK(told.thrown == "");
    CHECK(told.error == "");
    CHECK(told.text == "yes");
    CHECK(told.requests == 3);
    // Nothing else, ever: one clear line.
    const Told dead = tell({passing});
    CHECK(holds(dead.thrown, "judge endpoint http://127.0.0.1:"));
    CHECK(holds(dead.thrown, "after 3 tries"));
    CHECK(dead.thrown.find('\n') == std::string::npos);
    CHECK(dead.requests == 3);
    // After an answer it is the question's own failure.
    const Told later = tell({ok("first"), passing}, 2);
    CHECK(later.thrown == "");
    CHECK(later.error != "");
    CHECK(later.requests == 4);
  }
  CHECK(holds(tell({garbage}).thrown, "not JSON: <html>hello"));
  CHECK(holds(tell({schema}).thrown, "not a chat completion: {\"choices\": []}"));
  CHECK(holds(tell({error}).thrown, "HTTP 500: {\"error\": 1}"));
}

TEST_CASE("endpoint: an answer of nothing is an answer") {
  CHECK(tell({ok("")}).error == "");
  CHECK(tell({ok("")}).requests == 1);
  const std::string declined = R"({"choices":[{"message":{"role":"assistant","content":null}}]})";
  const Told told = tell({HttpServer::response(200, declined)});
  CHECK(told.thrown + told.error + told.text == "");
  CHECK(told.requests == 1);
}

TEST_CASE("endpoint: a refused question is that question's error, a refused client is the end") {
  for (const int status : {400, 413, 422}) {
    const Told told = tell({HttpServer::response(status, "context length exceeded"), ok("fine")}, 1);
    CHECK(told.thrown == "");
    CHECK(holds(told.error, "context length exceeded"));
    CHECK(told.requests == 1);
  }
  for (const int status : {401, 403, 404, 405}) {
    const Told told = tell({HttpServer::response(status, "no")}, 3);
    CHECK(holds(told.thrown, concat("HTTP ", status)));
    CHECK(told.requests == 1);
  }
}

TEST_CASE("endpoint: the key is in no message, even when the server repeats it") {
  ::setenv("THINKER_TEST_KEY", "sk-secret-5521", 1);
  for (const int status : {200, 400, 401, 404, 500}) {
    HttpServer server([&](const std::string&, const std::string&) {
      return status == 200 ? ok("you sent sk-secret-5521") : HttpServer::response(status, "bad key sk-secret-5521");
    });
    EndpointOptions options = options_for(server);
    options.key_env = "THINKER_TEST_KEY";
    options.retries = 0;
    std::string all;
    all += error_of([&] {
      Endpoint endpoint(options, {});
      for (const ChatReply& r : ask(endpoint, 1)) all += r.text + r.error;
    });
    CHECK(all != "");
    CHECK(!holds(all, "secret"));
    CHECK(holds(server.received(), "sk-secret-5521"));
  }
}

TEST_CASE("endpoint: a slow server is cut off") {
  std::atomic<bool> slow = true;
  HttpServer server([&](const std::string&, const std::string&) {
    if (slow.exchange(false)) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return ok("late");
  });
  EndpointOptions options = options_for(server);
  options.timeout_s = 0.05;
  Endpoint endpoint(options, {});
  CHECK(ask(endpoint, 1)[0].text == "late");
  CHECK(server.requests() == 2);
  slow = true;
  options.retries = 0;
  Endpoint impatient(options, {});
  CHECK(holds(error_of([&] { ask(impatient, 1); }), "no answer within 0.05 s, after 1 try"));
  // Each read is in time, but not all of them: within the headers, and within the text.
  server.drip(std::chrono::milliseconds(10));
  CHECK(holds(error_of([&] { ask(impatient, 1); }), "no answer within 0.05 s, after 1 try"));
  options.timeout_s = 1.2;
  Endpoint patient(options, {});
  CHECK(holds(error_of([&] { ask(patient, 1); }), "no answer within 1.2 s, after 1 try"));
}

TEST_CASE("endpoint: nobody there, and a server that dies on the way, are one line; what was answered is handed over") {
  EndpointOptions options;
  {
    HttpServer gone([](const std::string&, const std::string&) { return ok("x"); });
    options = options_for(gone);
  }
  Endpoint nobody(options, {});
  const std::string error = error_of([&] { ask(nobody, 3); });
  CHECK(holds(error, "no connection, after 3 tries"));
  CHECK(holds(error, "run the same command again"));

  // It answers twice, then only errors: the eighth question that is given up in a row ends the work.
  std::atomic<int> count = 0;
  HttpServer dying(
      [&](const std::string&, const std::string&) { return ++count <= 2 ? ok("x") : HttpServer::response(500, ""); });
  options = options_for(dying);
  options.retries = 0;
  Endpoint endpoint(options, {});
  int answered = 0, failed = 0;
  CHECK(error_of([&] {
          endpoint.ask(questions(30), [&](size_t, const ChatReply& r) { ++(r.error.empty() ? answered : failed); });
        }) != "");
  CHECK(answered == 2);
  CHECK(failed == 7);
  CHECK(dying.requests() == 10);
}

TEST_CASE("endpoint: questions go out side by side, at most as many as told, and replies keep their place") {
  std::atomic<int> open = 0, most = 0;
  HttpServer server([&](const std::string&, const std::string& body) {
    const int now = ++open;
    int before = most;
    while (now > before && !most.compare_exchange_weak(before, now)) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    --open;
    return ok(Json::parse(body)["messages"][0]["content"].get<std::string>());
  });
  EndpointOptions options = options_for(server);
  options.concurrency = 4;
  options.timeout_s = 10;
  Endpoint endpoint(options, {});
  const auto replies = ask(endpoint, 24);
  for (int i = 0; i < 24; ++i) CHECK(replies[i].text == "question " + std::to_string(i));
  CHECK(most <= 4);
  CHECK(most >= 2);
}

TEST_CASE("endpoint: the rate limit and Retry-After are kept") {
  HttpServer server([](const std::string&, const std::string&) { return ok("x"); });
  EndpointOptions options = options_for(server);
  options.concurrency = 4;
  options.requests_per_minute = 60 / 0.02;  // one every 20 ms
  auto start = Clock::now();
  Endpoint limited(options, {});
  ask(limited, 6);
  CHECK(Clock::now() - start >= std::chrono::milliseconds(95));

  std::atomic<int> count = 0;
  HttpServer busy([&](const std::string&, const std::string&) {
    return ++count == 1 ? HttpServer::response(429, "", "Retry-After: 0.1\r\n") : ok("x");
  });
  options = options_for(busy);
  start = Clock::now();
  Endpoint patient(options, {});
  CHECK(ask(patient, 3)[2].text == "x");
  CHECK(Clock::now() - start >= std::chrono::milliseconds(95));
  CHECK(busy.requests() == 4);
}

TEST_CASE("endpoint: Retry-After holds those that wait for their turn already") {
  std::atomic<int> count = 0;
  std::atomic<bool> held_and_asked = false;
  Clock::time_point until;
  std::mutex mutex;
  HttpServer busy([&](const std::string&, const std::string&) {
    const std::lock_guard lock(mutex);
    if (++count == 1) {
      until = Clock::now() + std::chrono::milliseconds(400);
      return HttpServer::response(429, "", "Retry-After: 0.4\r\n");
    }
    if (Clock::now() < until) held_and_asked = true;
    return ok("x");
  });
  EndpointOptions options = options_for(busy);
  options.concurrency = 4;
  options.requests_per_minute = 60 / 0.05;  // turns 50 ms apart: three wait when the first is refused
  Endpoint patient(options, {});
  ask(patient, 4);
  CHECK(!held_and_asked);
  CHECK(count == 5);
}

TEST_CASE("endpoint: log-probs of single tokens") {
  const auto with = [](const std::string& top) {
    return HttpServer::response(
        200, R"({"choices":[{"message":{"content":"m"},"logprobs":{"content":[{"top_logprobs":)" + top + "}]}}]}");
  };
  const auto read = [&](const std::string& answer) {
    HttpServer server([&](const std::string&, const std::string&) { return answer; });
    EndpointOptions options = options_for(server);
    options.retries = 0;
    Endpoint endpoint(options, {.temperature = 0, .max_new = 500, .choices = {"m", "M"}});
    const auto logprobs = ask(endpoint, 1)[0].logprobs;
    CHECK(holds(server.received(), R"("max_tokens":1,"logprobs":true,"top_logprobs":5)"));
    return logprobs;
  };
  auto found =
      read(with(R"([{"token":"M","logprob":-0.25},{"token":"m","logprob":-1.5},{"token":" m","logprob":-3}])"));
  CHECK(*found[0] == -1.5);
  CHECK(*found[1] == -0.25);
  found = read(with(R"([{"token":"The","logprob":-0.25}])"));
  CHECK(!found[0]);
  CHECK(!found[1]);
  const ChatOptions chat{.temperature = 0, .max_new = 1, .choices = {"m", "M"}};
  for (const std::string& bad : {ok("m"), with("null"), with(R"([{"token":"m","logprob":"x"}])"),
                                 with(R"([{"token":"m","logprob":NaN}])"), with(R"([{"token":"m"}])")}) {
    INFO(bad);
    CHECK(tell({bad}, 1, chat).thrown != "");
  }
}
