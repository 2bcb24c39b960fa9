// A client of any OpenAI-compatible chat endpoint: POST URL/chat/completions. Requests run in a few threads, within a
// rate, and are tried again with growing pauses where that can help:
//
//   tried again      429 (after its Retry-After; everybody waits), 408, 409, 5xx, connections refused or cut, timeouts,
//                    and answers that are no chat completion
//   the question's   400, 413, 422 (too long, refused), and what failed in all its tries
//   the end          401, 403, 404 and other refusals; no connection at all; no answer ever, or many failures in a row:
//                    the endpoint is dead or set up wrongly, and asking on would only cost
//
// A key is read from the environment, sent in the Authorization header, and neither printed nor stored.
#pragma once

#include <string>

#include "tpo/judges/chat.h"

namespace thinker {

struct EndpointOptions {
  std::string url;      // "http://host:port/v1"
  std::string model;    // the server's name of it
  std::string key_env;  // environment variable that holds the key; empty: no key is sent
  int64_t concurrency = 4;
  double requests_per_minute = 0;  // 0: no limit
  double timeout_s = 60;           // for one try
  int64_t retries = 5;
  double backoff_s = 0.5;  // pause before the first retry; doubles each time, up to 30 s
};

/// Throws Error "judge.endpoint: …" or "judge.key_env: …" for what no endpoint could be. Never prints the value of
/// key_env: somebody may have put the key itself there.
void check_endpoint(const EndpointOptions& options);

class Endpoint : public Chat {
 public:
  /// Throws Error when the environment has no such key.
  Endpoint(EndpointOptions options, ChatOptions chat);

  /// Throws Error, one line, when the endpoint is dead or refuses us.
  void ask(std::span<const ChatQuestion> questions, const OnReply& on_reply) override;

 private:
  class Work;

  EndpointOptions options_;
  ChatOptions chat_;
  std::string origin_, path_;  // "http://host:port", "/v1/chat/completions"
  std::string key_;
  bool answered_ = false;  // anything, since the beginning
};

}  // namespace thinker
