// Every differentiable op. Each computes on the tape's device at once and records its backward when the tape records.
// An op x lies in tensor/ops/x.cpp, its test in tests/tensor/x.cpp and its kernels in tensor/cpu/x.cpp and
// tensor/cuda/x.cu, with these exceptions:
//
//   linear           kernels in matmul.cpp of both backends; those of weights stored smaller in tensor/cpu/stored.cpp
//   embedding        in gather.cpp: a gather from the table
//   token_logprob    kernels in tensor/cpu/logprob.cpp
//   copy, widen, checkpoint    no kernels of their own: they copy, convert and accumulate as the backend does anyway
//
// All throw Error with op name and shapes when shapes or dtypes do not fit.
#pragma once

#include <functional>

#include "tensor/tape.h"

namespace thinker {

/// ids I32 (N), table (V, C) -> (N, C) of dtype t, the table's own unless it is stored smaller; then the tape must not
/// record.
Tensor embedding(Tape& tape, const Tensor& table, const Tensor& ids, DType t);
inline Tensor embedding(Tape& tape, const Tensor& table, const Tensor& ids) {
  return embedding(tape, table, ids, table.dtype());
}

/// x (N, I), weight (O, I), bias (O) or undefined -> x weight^T + bias, (N, O). packed: null, or what Backend::pack
/// made of the weight; then, and where the weight is stored in another dtype than x's, the tape must not record.
Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const void* packed = nullptr);

/// y (N, O) += x weight^T, in place; x (N, I), weight (O, I), packed as for linear().
void add_linear(Tape& tape, const Tensor& y, const Tensor& x, const Tensor& weight, const void* packed = nullptr);

/// The weight of a linear layer as the op takes it.
struct LinearWeight {
  Tensor weight, bias = {};
  const void* packed = nullptr;
};

/// Several linear layers of the same x: what linear() gives for each, in one go as far as the device can.
std::vector<Tensor> linears(Tape& tape, const Tensor& x, const std::vector<LinearWeight>& weights);

/// x (N, C), weight (C) -> x / sqrt(mean(x^2) + eps) * weight, (N, C). (Zhang & Sennrich, arXiv 1910.07467)
/// x (N, H*D), weight (D): each of the H groups by itself.
Tensor rmsnorm(Tape& tape, const Tensor& x, const Tensor& weight, double eps);

/// positions I32 (N), inverse_frequency acc (D/2) -> what rope() turns rows at these positions by, acc (N, D).
Tensor rope_angles(Tape& tape, const Tensor& positions, const Tensor& inverse_frequency);

/// Rotates q (N, H*D) and k (N, Hkv*D) in place by rotary position embeddings (Su et al., arXiv 2104.09864), halves
/// paired as in the Hugging Face layout. k may be undefined.
void rope(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& angles);

/// Which queries see which keys: segments as in tensor/backend.h, on the device, with the sizes that they cover.
struct AttentionPlan {
  Tensor segments;  // I32 (S, 6): rows of struct Segment
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t longest_sequence = 0;  // see AttentionShape
};

/// q (N, H*D), k and v (rows, Hkv*D) -> softmax(q k^T / sqrt(D)) v over the visible keys, (N, H*D). The matrix
/// of scores is never stored: the softmax's maximum and sum are corrected as keys come (Milakov and Gimelshein, arXiv
/// 1805.02867).
Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionPlan& plan);

/// gate, up (N, F) -> silu(gate) * up. (Shazeer, arXiv 2002.05202)
Tensor swiglu(Tape& tape, const Tensor& gate, const Tensor& up);

/// x of any shape -> x in memory of its own, of the same shape and dtype: for what changes a tensor in place that
/// others still read as it is.
Tensor copy(Tape& tape, const Tensor& x);

/// x of any shape -> x * factor, of the same shape and dtype.
Tensor scale(Tape& tape, const Tensor& x, double factor);

/// x (N, C), index I32 (M) -> rows x[index], (M, C). Indices may repeat: with a shared prefix the prompt's last row
/// predicts the first token of every completion, so the backward adds.
Tensor gather(Tape& tape, const Tensor& x, const Tensor& index);

/// hidden (M, C), head (V, C), targets I32 (M) -> log softmax(hidden head^T)[target], acc (M). The logits exist for one
/// tile of rows and columns at a time only: forward keeps one log-sum-exp a row, backward computes each tile's logits
/// again.
Tensor token_logprob(Tape& tape, const Tensor& hidden, const Tensor& head, const Tensor& targets);

/// A tile of logits (rows, V) from factors of dtype t: all that exists of them at the same time.
Shape logits_tile(int64_t rows, int64_t v, DType t);

/// x acc (M), weight acc (M), offsets I32 (B+1) -> y acc (B), y[b] = sum of weight[i] x[i] over sequence b's rows.
Tensor masked_sum(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& offsets);

/// x of any shape -> the same in the dtype that sums are kept in, acc: x itself, but for BF16.
Tensor widen(Tape& tape, const Tensor& x);

/// Runs `block` without keeping its activations, and runs it again, recorded, when backward needs them.
/// (Chen et al., arXiv 1604.06174.) The block must compute the same values each time. On a tape that does not record it
/// may write them over what it is given, which is a copy of x.
Tensor checkpoint(Tape& tape, const Tensor& x, const std::function<Tensor(Tape&, const Tensor&)>& block);

}  // namespace thinker
