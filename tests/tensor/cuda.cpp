// The same cases on the GPU and on the CPU: every op of ops.h, forward and backward with a random upstream gradient,
// and the kernels that no op uses. Odd sizes, and sizes on both sides of a block of 256 threads. Each case runs twice
// on the GPU: a call with the same arguments must give the same bits. Without a GPU every case is skipped, and says so.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tensor/ops.h"
#include "tensor/rng.h"
#include "tests/tensor/add.h"
#include "tests/tensor/device_run.h"

namespace thinker {
namespace {

using test::add;
using test::Run;
using test::Values;

// ---- the cases ------------------------------------------------------------------------------------------------------

void embedding_case(Run& run) {
  for (auto [v, c, n] : {std::array<int64_t, 3>{3, 7, 1}, {5, 300, 700}}) {
    Tape tape(run.device, Tape::Mode::record);
    const Tensor table = run.parameter({v, c});
    const Tensor y = embedding(tape, table, tape.from(run.indices(n, v)));
    run.keep("y", y);
    run.backward(tape, y);
    run.keep_grad("table", table);
  }
}

void gather_case(Run& run) {
  Tape tape(run.device, Tape::Mode::record);
  const Tensor x = run.input(tape, {9, 5});
  // One row three times, some never; then a second reader, whose gradient is added.
  const Tensor y = add(tape, gather(tape, x, tape.from(std::vector<int32_t>{4, 0, 4, 8, 4})),
                       gather(tape, x, tape.from(std::vector<int32_t>{1, 4, 1, 2, 0})));
  run.keep("y", y);
  run.backward(tape, y);
  run.keep_grad("x", x);
}

void linear_case(Run& run) {
  for (auto [n, in, out] : {std::array<int64_t, 3>{1, 3, 7}, {33, 70, 130}, {300, 64, 17}}) {
    Tape tape(run.device, Tape::Mode::record);
    const Tensor x = run.input(tape, {n, in}), w = run.parameter({out, in}), bias = run.parameter({out});
    const Tensor y = linear(tape, x, w, bias), w2 = run.parameter({out, in});
    add_linear(tape, y, x, w2);
    run.keep("y", y);
    run.backward(tape, y);
    run.keep_grad("w2", w2);
    run.keep_grad("x", x);
    run.keep_grad("w", w);
    run.keep_grad("bias", bias);
  }
}

/// Weights that meet the same rows: of one size and the same way apart, or not.
void weights_case(Run& run) {
  struct Part {
    int64_t first, n;  // rows of a table of weights
  };
  const int64_t m = 9, k = 32, rows = 80;
  Tape tape(run.device, Tape::Mode::no_grad);
  const Tensor a = run.input(tape, {m, k}), weights = run.input(tape, {rows, k});
  for (const auto& parts : {std::vector<Part>{{0, 24}, {24, 24}},
                            {{0, 8}, {8, 8}, {16, 8}},
                            {{0, 8}, {8, 8}, {24, 8}},
                            {{40, 8}, {8, 8}},
                            {{0, 40}, {40, 8}, {48, 8}, {56, 3}},
                            {{3, 5}, {20, 5}, {0, 0}}}) {
    const Tensor outs = run.input(tape, {rows * m});
    std::vector<LinearProduct> products;
    int64_t before = 0;
    const auto at = [&](const Tensor& x, int64_t i) { return static_cast<char*>(x.raw()) + i * size_of(run.t); };
    for (const Part& part : parts) {
      products.push_back({at(outs, before * m), at(weights, part.first * k), nullptr, part.n});
      before += part.n;
    }
    run.backend.matmul_weights(products, a.raw(), m, k, run.t);
    run.keep("out", outs);
  }
}

/// Every transposition, both ways of writing, and a pointer to a row inside a matrix, which need not be aligned.
void matmul_case(Run& run) {
  const int64_t m = 5, n = 7, k = 3;
  Tape tape(run.device, Tape::Mode::no_grad);
  for (Transpose ta : {Transpose::no, Transpose::yes}) {
    for (Transpose tb : {Transpose::no, Transpose::yes}) {
      for (DType out_t : {run.t, run.acc}) {
        const Tensor a = run.input(tape, {m * k + 1}), b = run.input(tape, {n * k + 1});
        const Tensor out = run.input(tape, {m * n + 1}, out_t);
        const auto second = [](const Tensor& x) { return static_cast<char*>(x.raw()) + size_of(x.dtype()); };
        run.backend.matmul(second(out), second(a), second(b), m, n, k, ta, tb, run.t, out_t, Write::add);
        run.keep("added", out);
        run.backend.matmul(out.raw(), a.raw(), b.raw(), m, n, k, ta, tb, run.t, out_t, Write::set);
        run.keep("set", out);
      }
    }
  }
  const Tensor out = run.input(tape, {m, n});
  run.backend.matmul(out.raw(), nullptr, nullptr, m, n, 0, Transpose::no, Transpose::no, run.t, run.t, Write::add);
  run.keep("K = 0, added", out);
  run.backend.matmul(out.raw(), nullptr, nullptr, m, n, 0, Transpose::no, Transpose::no, run.t, run.t, Write::set);
  run.keep("K = 0, set", out);
}

void rmsnorm_case(Run& run) {
  for (auto [n, c] : {std::array<int64_t, 2>{1, 1}, {3, 7}, {5, 576}, {600, 33}, {9, 1100}}) {
    Tape tape(run.device, Tape::Mode::record);
    const Tensor x = run.input(tape, {n, c}), w = run.parameter({c});
    // x has two readers: the second gradient is added to the first.
    const Tensor y = add(tape, rmsnorm(tape, x, w, 1e-5), x);
    run.keep("y", y);
    run.backward(tape, y);
    run.keep_grad("x", x);
    run.keep_grad("w", w);
    // Heads: groups of a row, normed by one weight. Of a head of one number the gradient is what rounding leaves of two
    // equal terms.
    if (c == 1) continue;
    Tape again(run.device, Tape::Mode::record);
    const Tensor rows = run.input(again, {n, 3 * c});
    const Tensor heads = rmsnorm(again, rows, w, 1e-5);
    run.keep("heads", heads);
    run.backward(again, heads);
    run.keep_grad("rows", rows);
  }
}

void rope_case(Run& run) {
  for (auto [n, h, d] : {std::array<int64_t, 3>{1, 1, 2}, {7, 3, 10}, {40, 2, 64}}) {
    Tape tape(run.device, Tape::Mode::record);
    Values frequency(d / 2);
    for (int64_t j = 0; j < d / 2; ++j)
      frequency[j] = std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(d));
    const Tensor inverse_frequency = run.fill(tape.make({d / 2}, run.acc), frequency);
    const Tensor angles = rope_angles(tape, tape.from(run.indices(n, 2000)), inverse_frequency);
    run.keep("angles", angles);
    const Tensor q = run.input(tape, {n, h * d}), k = run.input(tape, {n, d});
    rope(tape, q, k, angles);
    run.keep("q", q);
    run.keep("k", k);
    run.backward(tape, q);
    run.keep_grad("q", q);
  }
}

struct AttentionSizes {
  int64_t n, key_rows, heads, kv_heads, head_dim;
};

/// Forward and backward; with `twice` also with k once more as the value, so that its two gradients are added, which
/// cuDNN does not do. `sharpness` multiplies q: a large one makes softmax pick few keys, whose place in the walk over
/// the keys then matters.
void attend(Run& run, const AttentionSizes& s, const std::vector<Segment>& list, double sharpness = 1,
            bool twice = true) {
  Tape tape(run.device, Tape::Mode::record);
  Values queries = run.random(s.n * s.heads * s.head_dim);
  for (double& x : queries) x *= sharpness;
  const Tensor q = run.fill(tape.make({s.n, s.heads * s.head_dim}, run.t), queries);
  const Tensor k = run.input(tape, {s.key_rows, s.kv_heads * s.head_dim});
  const Tensor v = run.input(tape, {s.key_rows, s.kv_heads * s.head_dim});
  const auto count = static_cast<int64_t>(list.size());
  const Tensor segments =
      tape.from<int32_t>({count, 6}, {reinterpret_cast<const int32_t*>(list.data()), static_cast<size_t>(6 * count)});
  const AttentionPlan plan{segments, s.heads, s.kv_heads, s.head_dim, longest_sequence(list)};
  const Tensor first = attention(tape, q, k, v, plan);
  const Tensor y = twice ? add(tape, first, attention(tape, q, k, k, plan)) : first;
  run.keep("out", first);
  run.backward(tape, y);
  run.keep_grad("q", q);
  run.keep_grad("k", k);
  run.keep_grad("v", v);
}

/// Small and odd: no head size here is a whole number of tensor-core tiles, and most rows are no whole vectors.
void attention_case(Run& run) {
  attend(run, {1, 1, 1, 1, 1}, {{0, 1, 0, 0, 0, 1}});
  attend(run, {7, 7, 2, 2, 3}, {{0, 3, 0, 0, 0, 3}, {3, 4, 0, 0, 3, 4}});
  // a prompt, and three completions that share it; one of them is a single token
  attend(run, {14, 14, 6, 2, 7}, {{0, 5, 0, 0, 0, 5}, {5, 3, 0, 5, 5, 3}, {8, 1, 0, 5, 8, 1}, {9, 5, 0, 5, 9, 5}});
  // decoding: own rows hold earlier tokens too, and rows 17 to 19 are seen by nobody
  attend(run, {3, 20, 4, 1, 8}, {{0, 1, 0, 4, 4, 6}, {1, 2, 0, 4, 10, 7}});
  // more keys, and more readers of a key, than a block has threads
  attend(run, {310, 310, 3, 1, 20}, {{0, 270, 0, 0, 0, 270}, {270, 40, 0, 270, 270, 40}});
}

/// Every width of tiles, and one head wider than they are. Prompt and completions end on both sides of a tile's end.
void attention_tiles_case(Run& run) {
  const std::vector<Segment> list = {{0, 66, 0, 0, 0, 66},
                                     {66, 1, 0, 66, 66, 1},
                                     {67, 63, 0, 66, 67, 63},
                                     {130, 100, 0, 66, 130, 100},
                                     {230, 64, 0, 0, 230, 64}};
  for (int64_t d : {32, 64, 96, 128}) attend(run, {294, 294, 6, 2, d}, list);
  attend(run, {294, 294, 8, 2, 128}, list);  // four readers of a query: a thread copies the same one of several queries
  attend(run, {70, 70, 2, 1, 200}, {{0, 70, 0, 0, 0, 70}});
  // not packed: rows between the segments, and queries out of order
  attend(run, {150, 400, 1, 1, 64}, {{80, 70, 10, 100, 300, 90}, {0, 80, 10, 40, 150, 80}}, 8);
}

/// Whole sequences behind each other, long enough for cuDNN to take them, which never takes F64.
void attention_sequences_case(Run& run) {
  if (run.t == DType::F64) return;
  const std::vector<Segment> list = {{0, 70, 0, 0, 0, 70}, {70, 1, 0, 0, 70, 1}, {71, 529, 0, 0, 71, 529}};
  for (int64_t d : {64, 128})
    for (bool twice : {false, true}) attend(run, {600, 600, 3, 1, d}, list, 1, twice);
}

/// Single queries: long caches, whose keys several blocks share, and more segments than a warp looks at together.
void attention_decoding_case(Run& run) {
  attend(run, {3, 1300, 6, 2, 64}, {{0, 1, 100, 300, 400, 1}, {1, 1, 100, 300, 401, 200}, {2, 1, 0, 0, 700, 513}}, 8);
  attend(run, {2, 700, 32, 1, 40}, {{0, 1, 0, 100, 100, 400}, {1, 1, 0, 100, 600, 7}});  // more readers than a tile has
  std::vector<Segment> many;
  for (int32_t i = 0; i < 70; ++i) many.push_back({i, 1, 0, 50, 50 + 10 * i, 1 + i % 10});
  attend(run, {70, 760, 4, 2, 128}, many, 8);
  // Samples of three prompts and of one of a single token: 40 on one prefix, an order that breaks a run, and two
  // prefixes that begin together. Then with two queries in one segment and none in another.
  std::vector<Segment> samples;
  for (int32_t i = 0; i < 40; ++i) samples.push_back({i, 1, 0, 90, 300 + 20 * i, 1 + i % 20});
  for (int32_t i : {41, 40, 42, 43}) samples.push_back({i, 1, 90, 200, 300 + 20 * i, 20});
  for (int32_t i : {44, 45, 46}) samples.push_back({i, 1, 90, 70, 300 + 20 * i, 2});
  for (int32_t i : {47, 48}) samples.push_back({i, 1, 0, 0, 300 + 20 * i, 5});
  for (auto [heads, kv_heads, d] : {std::array<int64_t, 3>{9, 3, 64}, {16, 1, 32}})
    attend(run, {49, 1280, heads, kv_heads, d}, samples, 8);
  samples[40] = {41, 0, 0, 0, 0, 0};
  samples[41] = {40, 2, 90, 200, 1100, 30};
  attend(run, {49, 1280, 4, 2, 64}, samples, 8);
}

void swiglu_case(Run& run) {
  for (int64_t n : {1, 37, 300}) {
    Tape tape(run.device, Tape::Mode::record);
    const Tensor gate = run.input(tape, {n, 3}), up = run.input(tape, {n, 3});
    const Tensor y = add(tape, swiglu(tape, gate, up), swiglu(tape, up, gate));
    run.keep("y", y);
    run.backward(tape, y);
    run.keep_grad("gate", gate);
    run.keep_grad("up", up);
    const Tensor both = run.input(tape, {n, 5});  // its two gradients are written by one call
    const Tensor squared = swiglu(tape, both, both);
    run.backward(tape, squared);
    run.keep_grad("both", both);
  }
}

void accumulate_case(Run& run) {
  Tape tape(run.device, Tape::Mode::record);
  const Tensor a = run.input(tape, {3, 111}), b = run.input(tape, {3, 111});
  const Tensor y = add(tape, add(tape, a, b), a);
  run.keep("y", y);
  run.backward(tape, y);
  run.keep_grad("a", a);
  run.keep_grad("b", b);
  // from a row's second number on, which is not aligned
  const Tensor sum = run.input(tape, {3, 111});
  const auto second = [](const Tensor& x) { return static_cast<char*>(x.raw()) + size_of(x.dtype()); };
  run.backend.accumulate(second(sum), second(a), 300, run.t, Write::add);
  run.keep("sum", sum);
}

/// A residual connection: a product on top of a copy, and a reader of what was copied.
void copy_case(Run& run) {
  for (auto [n, c] : {std::array<int64_t, 2>{1, 3}, {33, 70}, {300, 64}}) {
    Tape tape(run.device, Tape::Mode::record);
    const Tensor x = run.input(tape, {n, c}), w = run.parameter({c, c}), norm = run.parameter({c});
    const Tensor h = rmsnorm(tape, x, norm, 1e-5), y = copy(tape, x);
    add_linear(tape, y, h, w);
    run.keep("y", y);
    run.backward(tape, y);
    run.keep_grad("x", x);
    run.keep_grad("w", w);
  }
}

/// Arrays that the host changes again as soon as they were handed over: many small ones, and one that is too large to
/// be put aside.
void upload_case(Run& run) {
  constexpr int64_t kSmall = 5, kCopies = 60'000, kLarge = 300'000;
  Tape tape(run.device, Tape::Mode::no_grad);
  const Tensor small = tape.make({kCopies, kSmall}, DType::F32), large = tape.make({kLarge}, DType::F32);
  std::vector<float> values(kSmall), many(kLarge);
  for (int64_t i = 0; i < kCopies; ++i) {
    for (int64_t j = 0; j < kSmall; ++j) values[j] = static_cast<float>((kSmall * i + j) % 997);
    run.backend.copy_from_host(small.data<float>() + kSmall * i, values.data(), kSmall * size_of(DType::F32));
  }
  for (int64_t j = 0; j < kLarge; ++j) many[j] = static_cast<float>(j % 997);
  run.backend.copy_from_host(large.raw(), many.data(), large.bytes());
  std::fill(many.begin(), many.end(), NAN);
  run.keep("small", small);
  run.keep("large", large);
}

void token_logprob_case(Run& run) {
  for (auto [m, c, v] : {std::array<int64_t, 3>{1, 3, 7}, {19, 33, 1003}}) {
    Tape tape(run.device, Tape::Mode::record);
    const Tensor hidden = run.input(tape, {m, c}), head = run.parameter({v, c});
    const Tensor y = token_logprob(tape, hidden, head, tape.from(run.indices(m, v)));
    run.keep("logprob", y);
    run.backward(tape, y);
    run.keep_grad("hidden", hidden);
    run.keep_grad("head", head);
  }
}

void masked_sum_case(Run& run) {
  Tape tape(run.device, Tape::Mode::record);
  const Tensor x = run.input(tape, {700}, run.acc), weight = run.input(tape, {700}, run.acc);
  // an empty sequence, a long one, and rows that belong to none
  const Tensor y = masked_sum(tape, x, weight, tape.from(std::vector<int32_t>{2, 5, 5, 690, 691}));
  run.keep("y", y);
  run.backward(tape, y);
  run.keep_grad("x", x);
}

/// More tensors than one launch takes, some of them empty or larger than a block, some without decay.
const std::vector<int64_t> kOptimizerSizes = [] {
  std::vector<int64_t> sizes = {1, 0, 1000, 4096, 20001};
  for (int64_t i = 0; i < 100; ++i) sizes.push_back(i * i % 600);
  return sizes;
}();

void optimizer_case(Run& run) {
  Tape tape(run.device, Tape::Mode::no_grad);
  std::vector<Tensor> kept;
  std::vector<AdamWSlot> slots;
  std::vector<ArrayView> gradients;
  for (int64_t n : kOptimizerSizes) {
    const Tensor master = run.input(tape, {n}, run.acc), grad = run.input(tape, {n}, run.acc);
    const Tensor m = run.input(tape, {n}, run.acc), weight = run.input(tape, {n});
    Values squares = run.random(n);
    for (double& x : squares) x *= x;
    const Tensor v = run.fill(tape.make({n}, run.acc), squares);
    slots.push_back({weight.raw(), master.raw(), m.raw(), v.raw(), nullptr, nullptr, grad.raw(), n, n % 2 == 0});
    gradients.push_back({grad.raw(), n});
    kept.insert(kept.end(), {master, m, v, weight, grad});
  }
  run.keep("sum of squares", Values{run.backend.sum_of_squares(gradients, run.acc)}, run.acc);
  const AdamWStep step{1e-2, 0.9, 0.95, 1e-8, 0.1, 1 - std::pow(0.9, 3), 1 - std::pow(0.95, 3), 0.5};
  run.backend.adamw(slots, OptimizerState::f32, step, run.t);
  for (const Tensor& x : kept) run.keep("state", x);
}

/// Moments in fewer bits, widened for the comparison. A number next to the border between two codes may take the other
/// one, which in the uppermost decade is 0.014 of the greatest away: that much is allowed, as for BF16.
void compact_optimizer_case(Run& run) {
  if (run.acc != DType::F32) return;
  for (OptimizerState state : {OptimizerState::bf16, OptimizerState::eight_bit}) {
    Tape tape(run.device, Tape::Mode::no_grad);
    const auto zeros = [&](int64_t n, DType t) {
      const Tensor x = tape.make({n}, t);
      run.backend.fill_zero(x.raw(), x.bytes());
      return x;
    };
    std::vector<Tensor> moments, wide;
    std::vector<AdamWSlot> slots;
    for (int64_t n : kOptimizerSizes) {
      const Tensor master = run.input(tape, {n}, DType::F32), grad = zeros(n, DType::F32),
                   weight = run.input(tape, {n});
      const int64_t blocks = (n + kMomentBlock - 1) / kMomentBlock;
      const Tensor m = zeros(n, DType::BF16), v = zeros(n, DType::BF16);
      const Tensor m_scale = zeros(blocks, DType::F32), v_scale = zeros(blocks, DType::F32);
      slots.push_back({weight.raw(), master.raw(), m.raw(), v.raw(), m_scale.data<float>(), v_scale.data<float>(),
                       grad.raw(), n, n % 2 == 0});
      if (state == OptimizerState::bf16) moments.insert(moments.end(), {m, v});
      wide.push_back(master);
      if (state == OptimizerState::eight_bit) wide.insert(wide.end(), {m_scale, v_scale});
    }
    for (uint32_t number = 1; number <= 3; ++number) {
      for (const AdamWSlot& slot : slots) {
        const Tensor grad = run.input(tape, {slot.n}, DType::F32);
        run.backend.copy(slot.grad, grad.raw(), grad.bytes());
      }
      const AdamWStep step{1e-2, 0.9,   0.95, 1e-8, 0.1, 1 - std::pow(0.9, number), 1 - std::pow(0.95, number),
                           0.5,  number};
      run.backend.adamw(slots, state, step, run.t);
    }
    for (const Tensor& x : wide) run.keep("masters and scales", run.as_bf16(x), DType::BF16);
    for (const Tensor& x : moments) run.keep("moments", x);
  }
}

void rows_case(Run& run) {
  Tape tape(run.device, Tape::Mode::no_grad);
  const Tensor keys = run.input(tape, {9, 35}), values = run.input(tape, {9, 35});
  const Tensor rows = run.input(tape, {3, 35}), more = run.input(tape, {3, 35});
  const Tensor index = tape.from(std::vector<int32_t>{7, 0, 4});
  run.backend.append_to_cache(keys.raw(), values.raw(), rows.raw(), more.raw(), index.data<int32_t>(), 3, 35, run.t);
  run.keep("keys", keys);
  run.keep("values", values);
  for (DType to : {DType::F32, DType::F64, DType::BF16}) {
    const Tensor y = tape.make({3, 35}, to);
    run.backend.convert(y.raw(), rows.raw(), rows.numel(), to, run.t);
    run.keep("converted", y);
  }
}

/// The drawn ids; the logits are F32 whatever the dtype of the model.
void sample_from(Run& run, int64_t v) {
  const int64_t n = 6;
  Tape tape(run.device, Tape::Mode::no_grad);
  Values values = run.random(n * v);
  for (double& x : values) x *= 3;
  values[2 * v + 5] = values[2 * v + 900] = values[2 * v + 17] = 20;  // the best token is tied
  std::fill_n(values.begin() + 3 * v, v, 1.5);                        // all tokens are
  const Tensor logits = run.fill(tape.make({n, v}, DType::F32), values);
  const std::vector<SampleRow> rows = {{0.0, -1, false},    {0.3, -1, true},  {0.7, -1, false},
                                       {0.9999, -1, false}, {0.5, 11, false}, {0.5, -1, true}};
  const std::vector<int32_t> ends = {17, 3};
  SamplingOptions plain, cold, greedy, top_k, top_p, min_p, all;
  cold.temperature = 1e-40;  // 1 / temperature is more than a float holds
  greedy.greedy = true;
  top_k.top_k = 2;
  top_p.top_p = 0.6;
  min_p.min_p = 0.05;
  all = {0.7, 50, 0.9, 0.02, false};
  for (const SamplingOptions& options : {plain, cold, greedy, top_k, top_p, min_p, all}) {
    std::vector<int32_t> ids(n);
    std::vector<float> logprobs(n);
    run.backend.sample(ids.data(), logprobs.data(), logits.raw(), rows.data(), ends.data(), 2, options, n, v);
    run.keep("ids", Values(ids.begin(), ids.end()), DType::F64);
    run.keep("logprobs", Values(logprobs.begin(), logprobs.end()), DType::F32);
  }
}
/// A vocabulary for blocks of few threads, and one for large blocks, where a row has more equal tokens than are listed.
void sample_case(Run& run) {
  for (const int64_t v : {1003, 5003}) sample_from(run, v);
}

/// Nothing to do is no error: CUDA refuses launches without blocks.
void empty_case(Run& run) {
  Tape tape(run.device, Tape::Mode::record);
  const Tensor x = run.input(tape, {0, 3}), w = run.parameter({4, 3}), norm = run.parameter({3});
  const Tensor y = linear(tape, rmsnorm(tape, x, norm, 1e-5), w);
  run.keep("y", swiglu(tape, y, y));
  run.keep("sum of squares", Values{run.backend.sum_of_squares({}, run.acc)}, run.acc);
}

void scale_case(Run& run) {
  Tape tape(run.device, Tape::Mode::record);
  const Tensor x = run.input(tape, {3, 111});
  const Tensor y = add(tape, scale(tape, x, -1.75), scale(tape, x, 0.3));
  run.keep("y", y);
  run.backward(tape, y);
  run.keep_grad("x", x);
}

struct Case {
  const char* name;
  void (*run)(Run&);
};
constexpr Case kCases[] = {{"embedding", embedding_case},
                           {"gather", gather_case},
                           {"linear", linear_case},
                           {"weights", weights_case},
                           {"matmul", matmul_case},
                           {"rmsnorm", rmsnorm_case},
                           {"rope", rope_case},
                           {"attention", attention_case},
                           {"attention in tiles", attention_tiles_case},
                           {"attention, whole sequences", attention_sequences_case},
                           {"attention, decoding", attention_decoding_case},
                           {"swiglu", swiglu_case},
                           {"accumulate", accumulate_case},
                           {"copy", copy_case},
                           {"upload", upload_case},
                           {"scale", scale_case},
                           {"logprob", token_logprob_case},
                           {"masked_sum", masked_sum_case},
                           {"optimizer", optimizer_case},
                           {"compact optimizer", compact_optimizer_case},
                           {"rows", rows_case},
                           {"sample", sample_case},
                           {"empty", empty_case}};

/// The largest difference allowed, relative to the largest value of the array.
double tolerance(DType t) {
  switch (t) {
    case DType::F64: return 1e-12;  // some hundred additions in another order, exp and sin within 2 units
    case DType::F32: return 1e-5;   // the same at 6e-8 a rounding; a TF32 product would miss it
    default: return 1e-2;           // 2^-9 a stored number, and several such meet in one result: four in attention's dq
  }
}

void compare(const Run& gpu, const Run& cpu) {
  REQUIRE(gpu.names == cpu.names);
  for (size_t r = 0; r < cpu.results.size(); ++r) {
    const Values &a = gpu.results[r], &b = cpu.results[r];
    // A result may be stored less exactly than the case computes.
    const double allowed = std::max(tolerance(gpu.t), tolerance(gpu.dtypes[r]));
    INFO("result ", r, ": ", cpu.names[r]);
    REQUIRE(a.size() == b.size());
    double difference = 0, largest = 0;
    for (size_t i = 0; i < b.size(); ++i) {
      // A NaN stays, and fails below.
      difference = std::isnan(difference) ? difference : std::max(std::abs(a[i] - b[i]), difference);
      largest = std::max(largest, std::abs(b[i]));
    }
    CHECK_FALSE(!(difference <= allowed * largest));
  }
}

}  // namespace

TEST_CASE("every op gives on the GPU what it gives on the CPU") {
  NoCuda why_not;
  std::unique_ptr<Backend> backend = make_cuda_backend(why_not);
  if (!backend) {
    CHECK_FALSE(why_not.reason.empty());
    for (const Case& c : kCases) std::fprintf(stderr, "SKIP: %s on the GPU: %s\n", c.name, why_not.reason.c_str());
    return;
  }
  Device gpu(std::move(backend));
  const std::unique_ptr<Device> cpu = open_device("cpu");
  for (const Case& c : kCases) {
    for (DType t : {DType::F64, DType::F32, DType::BF16}) {
      INFO(std::string(c.name), " in ", std::string(name(t)));
      // The CPU computes in F32 what the GPU computes in BF16: its inputs are the same numbers.
      Run once(gpu, t), again(gpu, t), expected(*cpu, t == DType::BF16 ? DType::F32 : t);
      c.run(once);
      c.run(again);
      c.run(expected);
      compare(once, expected);
      CHECK(once.results == again.results);
    }
  }
}

}  // namespace thinker
