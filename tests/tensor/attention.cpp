// Attention against softmax over an explicit mask, in double, and its gradients.
#include "gradcheck.h"
#include "threads.h"

namespace thinker::test {

namespace {

struct Case {
  const char* what;
  std::vector<Segment> segments;
  int64_t heads, kv_heads, head_dim, queries, key_rows;
};

/// Rows of a training batch: the own keys of a segment are its query rows.
Segment rows(int32_t begin, int32_t length, int32_t prefix_begin = 0, int32_t prefix_len = 0) {
  return {begin, length, prefix_begin, prefix_len, begin, length};
}

/// The sizes are odd on purpose; head size 64 runs full tiles, 70 rows cross a tile's border.
std::vector<Case> small_cases() {
  return {
      {"one token", {rows(0, 1)}, 1, 1, 1, 1, 1},
      {"one sequence", {rows(0, 7)}, 3, 1, 3, 7, 7},
      {"two sequences", {rows(0, 3), rows(3, 4)}, 2, 2, 7, 7, 7},
      {"three completions on one prefix, one of them a single token",
       {rows(0, 3), rows(3, 3, 0, 3), rows(6, 1, 0, 3), rows(7, 4, 0, 3)},
       6,
       3,
       3,
       11,
       11},
      {"a prefix that is part of a sequence", {rows(0, 5), rows(5, 2, 1, 3)}, 2, 1, 3, 7, 7},
      {"a cache: own rows hold earlier tokens", {{0, 2, 0, 3, 3, 5}, {2, 1, 0, 3, 8, 4}}, 3, 1, 7, 3, 13},
      {"rows that nobody sees", {{0, 2, 5, 2, 1, 2}}, 2, 2, 3, 2, 9},
      {"overlapping prefixes", {rows(0, 6), rows(6, 2, 0, 4), rows(8, 2, 2, 4)}, 2, 1, 3, 10, 10},
  };
}

/// 67 samples of a prompt of 20 tokens, more than a tile of queries on one prefix, then three each of five others.
Case decoding_many() {
  std::vector<Segment> segments;
  for (int32_t i = 0; i < 82; ++i) {
    const int32_t other = (i - 67) / 3;
    segments.push_back({i, 1, i < 67 ? 0 : 20, i < 67 ? 20 : 21 - other, 41 + 3 * i, 1 + i % 3});
  }
  return {"decoding many", segments, 6, 2, 16, 82, 41 + 3 * 82};
}

std::vector<Case> large_cases() {
  return {
      decoding_many(),
      {"tiles", {rows(0, 70), rows(70, 90, 0, 70), rows(160, 1, 0, 70), rows(161, 130, 0, 70)}, 9, 3, 64, 291, 291},
      {"head size 32", {rows(0, 150), rows(150, 64)}, 4, 4, 32, 214, 214},
      {"decoding", {{0, 1, 0, 100, 100, 33}, {1, 1, 0, 100, 133, 64}, {2, 1, 0, 0, 197, 1}}, 9, 3, 64, 3, 198},
      {"few single queries, each with keys of its own",
       {{0, 1, 0, 0, 0, 130}, {1, 1, 130, 70, 200, 65}, {2, 1, 265, 3, 268, 1}},
       9,
       1,
       64,
       3,
       269},
      {"more single queries, each with keys of its own",
       {{0, 1, 0, 0, 0, 130},
        {1, 1, 0, 0, 130, 70},
        {2, 1, 0, 0, 200, 65},
        {3, 1, 0, 0, 265, 3},
        {4, 1, 0, 0, 268, 1},
        {5, 1, 0, 0, 269, 66},
        {6, 1, 0, 0, 335, 5},
        {7, 1, 0, 0, 340, 9},
        {8, 1, 0, 0, 349, 40}},
       4,
       2,
       32,
       9,
       389},
      {"a piece of a prompt", {{0, 66, 0, 0, 0, 200}}, 9, 3, 64, 66, 200},
      {"head size 136", {rows(0, 70), rows(70, 3, 0, 66)}, 2, 1, 136, 73, 73},
      {"head size 40", {rows(0, 65), {65, 1, 0, 65, 65, 1}}, 4, 2, 40, 66, 66},
  };
}

Op attention_op(const Case& c) {
  return [c](Tape& tape, const std::vector<Tensor>& x) {
    const auto* numbers = reinterpret_cast<const int32_t*>(c.segments.data());
    const auto count = static_cast<int64_t>(c.segments.size());
    const Tensor segments = tape.from<int32_t>({count, 6}, std::span(numbers, 6 * c.segments.size()));
    return attention(tape, x[0], x[1], x[2], {segments, c.heads, c.kv_heads, c.head_dim});
  };
}

std::vector<Input> random_inputs(const Case& c, uint64_t seed) {
  Rng rng = test_rng(seed);
  return {activation({c.queries, c.heads * c.head_dim}, rng), activation({c.key_rows, c.kv_heads * c.head_dim}, rng),
          activation({c.key_rows, c.kv_heads * c.head_dim}, rng)};
}

/// mask[query][key], written from the definition of Segment.
std::vector<std::vector<bool>> mask_of(const Case& c) {
  std::vector<std::vector<bool>> mask(c.queries, std::vector<bool>(c.key_rows, false));
  for (const Segment& s : c.segments)
    for (int i = 0; i < s.query_len; ++i) {
      for (int j = 0; j < s.prefix_len; ++j) mask[s.query_begin + i][s.prefix_begin + j] = true;
      for (int j = 0; j <= s.own_len - s.query_len + i; ++j) mask[s.query_begin + i][s.own_begin + j] = true;
    }
  return mask;
}

std::vector<double> plain_attention(const Case& c, const std::vector<Input>& x) {
  const auto mask = mask_of(c);
  const int64_t width = c.heads * c.head_dim, kv_width = c.kv_heads * c.head_dim, D = c.head_dim;
  std::vector<double> out(c.queries * width, 0.0), score(c.key_rows);
  for (int64_t i = 0; i < c.queries; ++i)
    for (int64_t h = 0; h < c.heads; ++h) {
      const double* q = &x[0].values[i * width + h * D];
      const int64_t kv = h / (c.heads / c.kv_heads) * D;
      double highest = -INFINITY, total = 0;
      for (int64_t j = 0; j < c.key_rows; ++j) {
        score[j] = -INFINITY;
        if (!mask[i][j]) continue;
        score[j] = 0;
        for (int64_t d = 0; d < D; ++d) score[j] += q[d] * x[1].values[j * kv_width + kv + d];
        score[j] /= std::sqrt(static_cast<double>(D));
        highest = std::max(highest, score[j]);
      }
      for (double& s : score) total += s = std::exp(s - highest);
      for (int64_t j = 0; j < c.key_rows; ++j)
        for (int64_t d = 0; d < D; ++d)
          out[i * width + h * D + d] += score[j] / total * x[2].values[j * kv_width + kv + d];
    }
  return out;
}

}  // namespace

TEST_CASE("attention: gradients by central differences") {
  const auto device = open_device("cpu");
  for (const Case& c : small_cases()) {
    INFO(c.what);
    check_op(*device, attention_op(c), random_inputs(c, 1));
  }
}

TEST_CASE("attention equals softmax over an explicit mask") {
  const auto device = open_device("cpu");
  for (const auto& cases : {small_cases(), large_cases()})
    for (const Case& c : cases) {
      INFO(c.what);
      const std::vector<Input> inputs = random_inputs(c, 2);
      check_forward(*device, attention_op(c), inputs, plain_attention(c, inputs));
    }
}

TEST_CASE("attention in F32 equals F64 where tiles are full, and repeats its bits") {
  const auto device = open_device("cpu");
  for (const Case& c : large_cases()) {
    INFO(c.what);
    const std::vector<Input> inputs = random_inputs(c, 3);
    check_f32(*device, attention_op(c), inputs);
    check_repeats(*device, attention_op(c), inputs);
  }
}

TEST_CASE("attention has the same bits with one thread and with more: tasks differ, in decoding many") {
  const auto device = open_device("cpu");
  for (const DType products : {DType::F32, DType::BF16})
    for (const Case& c : large_cases()) {
      device->backend().set_product_dtype(products);
      INFO(c.what);
      const std::vector<Input> inputs = random_inputs(c, 4);
      const auto with = [&](int threads) {
        const Threads those(threads);
        Tape tape(*device, Tape::Mode::no_grad);
        std::vector<Tensor> x;
        for (const Input& input : inputs) {
          const std::vector<float> values(input.values.begin(), input.values.end());
          x.push_back(tape.from<float>(input.shape, values));
        }
        return attention_op(c)(tape, x).to_host<float>();
      };
      const auto one = with(1);
      for (const int threads : {2, 3}) CHECK(with(threads) == one);
    }
}

TEST_CASE("attention: large tiles have the gradient of directional differences") {
  const auto device = open_device("cpu");
  for (const Case& c : large_cases()) {
    INFO(c.what);
    std::vector<Input> inputs = random_inputs(c, 4);
    const Op op = attention_op(c);
    const std::vector<double> upstream = random_upstream(inputs[0].values.size());
    const Result at = run<double>(*device, op, inputs, upstream);
    Rng rng = test_rng(5);
    double predicted = 0;
    std::vector<Input> above = inputs, below = inputs;
    constexpr double kStep = 1e-6;
    for (size_t n = 0; n < 3; ++n)
      for (size_t i = 0; i < inputs[n].values.size(); ++i) {
        const double direction = rng.normal();
        predicted += direction * at.gradients[n][i];
        above[n].values[i] += kStep * direction;
        below[n].values[i] -= kStep * direction;
      }
    const std::vector<double> y1 = run<double>(*device, op, above).y, y0 = run<double>(*device, op, below).y;
    double measured = 0;
    for (size_t i = 0; i < y1.size(); ++i) measured += upstream[i] * (y1[i] - y0[i]) / (2 * kStep);
    INFO("predicted ", predicted, ", measured ", measured);
    const bool close = std::abs(predicted - measured) <= 1e-6 * (1 + std::abs(measured));
    CHECK(close);
  }
}

TEST_CASE("attention: packed segments on a prefix equal the plain sequences, forward and backward") {
  const auto device = open_device("cpu");
  // A prompt of 5 and completions of 3, 1 and 4 tokens; then each as a sequence of its own.
  const Case packed{"", {rows(0, 5), rows(5, 3, 0, 5), rows(8, 1, 0, 5), rows(9, 4, 0, 5)}, 4, 2, 8, 13, 13};
  const Case plain{"", {rows(0, 8), rows(8, 6), rows(14, 9)}, 4, 2, 8, 23, 23};
  const std::vector<int> origin = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 8, 0, 1, 2, 3, 4, 9, 10, 11, 12};
  const std::vector<Input> x = random_inputs(packed, 6);
  std::vector<Input> copied = x;
  for (int n = 0; n < 3; ++n) {
    const int64_t width = x[n].shape[1];
    copied[n].shape = {23, width};
    copied[n].values.clear();
    for (int row : origin)
      copied[n].values.insert(copied[n].values.end(), &x[n].values[row * width], &x[n].values[row * width] + width);
  }
  // Upstream flows into completions only: what the prompt's rows receive then comes through its keys and values.
  const std::vector<double> upstream = random_upstream(13 * 32);
  std::vector<double> packed_up = upstream, plain_up(23 * 32, 0.0);
  std::fill(packed_up.begin(), packed_up.begin() + 5 * 32, 0.0);
  for (int i = 0; i < 23; ++i)
    if (origin[i] >= 5) std::copy_n(&upstream[origin[i] * 32], 32, &plain_up[i * 32]);
  const Result a = run<double>(*device, attention_op(packed), x, packed_up);
  const Result b = run<double>(*device, attention_op(plain), copied, plain_up);
  for (int i = 0; i < 23; ++i)
    for (int d = 0; d < 32; ++d) {
      const bool close = std::abs(a.y[origin[i] * 32 + d] - b.y[i * 32 + d]) <= 1e-13;
      REQUIRE(close);
    }
  for (int n = 0; n < 3; ++n) {
    const int64_t width = x[n].shape[1];
    std::vector<double> folded(13 * width, 0.0);
    for (int i = 0; i < 23; ++i)
      for (int64_t d = 0; d < width; ++d) folded[origin[i] * width + d] += b.gradients[n][i * width + d];
    CHECK(relative_error(a.gradients[n], folded) < 1e-12);
  }
}

TEST_CASE("attention: one tensor as query, key and value") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(7);
  const Case c{"", {rows(0, 4), rows(4, 3, 0, 4)}, 2, 2, 3, 7, 7};
  const Op op = [c](Tape& tape, const std::vector<Tensor>& x) { return attention_op(c)(tape, {x[0], x[0], x[0]}); };
  check_op(*device, op, {activation({7, 6}, rng)});
}

TEST_CASE("attention: rows that nobody sees get a zero gradient, not what the buffer held") {
  const auto device = open_device("cpu");
  const Case c{"", {{0, 2, 5, 2, 1, 2}}, 2, 2, 3, 2, 9};
  const Result r = run<float>(*device, attention_op(c), random_inputs(c, 8), random_upstream(12));
  for (int row : {0, 3, 4, 7, 8})
    for (int d = 0; d < 6; ++d) {
      CHECK(r.gradients[1][row * 6 + d] == 0.0);
      CHECK(r.gradients[2][row * 6 + d] == 0.0);
    }
}

TEST_CASE("attention: large scores stay finite, NaN is not hidden") {
  const auto device = open_device("cpu");
  const Case c{"", {rows(0, 7)}, 2, 1, 16, 7, 7};
  std::vector<Input> x = random_inputs(c, 9);
  for (double& v : x[0].values) v *= 1e4;
  for (double y : run<float>(*device, attention_op(c), x, random_upstream(7 * 32)).y) CHECK(std::isfinite(y));
  x[0].values[3 * 32 + 5] = NAN;  // row 3, head 0
  const std::vector<double> y = run<float>(*device, attention_op(c), x).y;
  for (int i = 0; i < 7; ++i)
    for (int d = 0; d < 32; ++d) CHECK(std::isnan(y[i * 32 + d]) == (i == 3 && d < 16));
}

TEST_CASE("attention of a single query with many keys: large scores stay finite, NaN is not hidden") {
  const auto device = open_device("cpu");
  const Case c{"", {{0, 1, 0, 0, 0, 200}}, 2, 1, 16, 1, 200};
  std::vector<Input> x = random_inputs(c, 9);
  for (double& v : x[0].values) v *= 1e4;
  for (double y : run<float>(*device, attention_op(c), x).y) CHECK(std::isfinite(y));
  for (const int key : {3, 100, 199}) {
    std::vector<Input> bad = x;
    bad[1].values[key * 16 + 5] = NAN;
    for (double y : run<float>(*device, attention_op(c), bad).y) CHECK(std::isnan(y));
  }
}

TEST_CASE("attention with factors rounded to bf16, forward and backward, equals F64 within that rounding") {
  // Queries, keys, values and upstream gradients are numbers that bf16 holds. What else is rounded are probabilities
  // and the gradients of scores, by up to 2^-9 of each: an output is off by as much of the largest value, a gradient by
  // a few times that of its largest sum (seen: up to 0.33 %). Single queries alone are computed as in F32.
  const auto exact = open_device("cpu"), device = open_device("cpu");
  device->backend().set_product_dtype(DType::BF16);
  const auto round = [](std::vector<double>& x) {
    for (double& v : x) v = to_float(to_bf16(static_cast<float>(v)));
  };
  for (const auto& cases : {small_cases(), large_cases()})
    for (const Case& c : cases) {
      INFO(c.what);
      std::vector<Input> inputs = random_inputs(c, 10);
      for (Input& input : inputs) round(input.values);
      std::vector<double> upstream = random_upstream(inputs[0].values.size());
      round(upstream);
      const Result expected = run<double>(*exact, attention_op(c), inputs, upstream);
      const Result found = run<float>(*device, attention_op(c), inputs, upstream);
      double largest = 0, off = 0;
      for (const double v : inputs[2].values) largest = std::max(largest, std::abs(v));
      for (size_t i = 0; i < found.y.size(); ++i) off = worse(off, std::abs(found.y[i] - expected.y[i]));
      CHECK(off <= 0x1p-9 * largest + 1e-5);
      for (size_t i = 0; i < 3; ++i) {
        INFO("gradient of input ", i);
        CHECK(relative_error(found.gradients[i], expected.gradients[i]) <= 0.01);
      }
      check_repeats(*device, attention_op(c), inputs);
    }
}

TEST_CASE("attention refuses sizes that do not fit") {
  const auto device = open_device("cpu");
  const Case c{"", {rows(0, 3)}, 3, 2, 4, 3, 3};
  CHECK_THROWS_AS(run<double>(*device, attention_op(c), random_inputs(c, 1)), Error);
}

TEST_CASE("whole sequences behind each other are told from all other segments") {
  const std::vector<Segment> whole = {{0, 3, 0, 0, 0, 3}, {3, 7, 0, 0, 3, 7}, {10, 1, 0, 0, 10, 1}};
  CHECK(longest_sequence(whole) == 7);
  CHECK(longest_sequence({}) == 0);
  const auto with = [&](const Segment& second) {
    std::vector<Segment> changed = whole;
    changed[1] = second;
    return longest_sequence(changed);
  };
  CHECK(with({3, 7, 0, 3, 3, 7}) == 0);   // a prefix
  CHECK(with({3, 7, 0, 0, 3, 8}) == 0);   // earlier rows in a cache
  CHECK(with({3, 7, 0, 0, 20, 7}) == 0);  // keys that lie elsewhere
  CHECK(with({4, 6, 0, 0, 4, 6}) == 0);   // a row of nobody
  CHECK(with({3, 0, 0, 0, 3, 0}) == 0);   // no rows
}

}  // namespace thinker::test
