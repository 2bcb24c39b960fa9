// GGUF models put together from the tiny Hugging Face ones as llama.cpp's converter does it: other names, and in
// "llama" files the rows of every query and key head reordered for interleaved rotary embeddings.
#include "nn/generate.h"
#include "nn/load.h"
#include "tensor/quantize.h"
#include "tensor/safetensors.h"
#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;

namespace {

/// Writes metadata and fp32 tensors; shapes are given outermost first, the file wants them innermost first.
class GgufWriter {
 public:
  void text(std::string_view key, std::string_view value) {
    string(meta_, key);
    put<uint32_t>(meta_, 8);
    string(meta_, value);
    ++keys_;
  }
  void integer(std::string_view key, int64_t value) {
    string(meta_, key);
    put<uint32_t>(meta_, 4);
    put<uint32_t>(meta_, static_cast<uint32_t>(value));
    ++keys_;
  }
  void number(std::string_view key, double value) {
    string(meta_, key);
    put<uint32_t>(meta_, 6);
    put<float>(meta_, static_cast<float>(value));
    ++keys_;
  }
  void tensor(std::string_view name, const Shape& shape, const std::vector<float>& values) {
    tensor(name, shape, GgmlType::F32, std::as_bytes(std::span(values)));
  }
  void tensor_q8(std::string_view name, const Shape& shape, const std::vector<float>& values) {
    std::vector<std::byte> blocks(bytes_of(DType::Q8_0, shape.numel()));
    quantize_q8_0(blocks.data(), values.data(), shape.numel());
    tensor(name, shape, GgmlType::Q8_0, blocks);
  }
  void tensor(std::string_view name, const Shape& shape, GgmlType type, std::span<const std::byte> data) {
    string(infos_, name);
    put<uint32_t>(infos_, static_cast<uint32_t>(shape.rank()));
    for (int i = shape.rank() - 1; i >= 0; --i) put<uint64_t>(infos_, static_cast<uint64_t>(shape[i]));
    put<uint32_t>(infos_, static_cast<uint32_t>(type));
    put<uint64_t>(infos_, data_.size());
    data_.append(reinterpret_cast<const char*>(data.data()), data.size());
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensors_;
  }
  std::string bytes() const {
    std::string out = "GGUF";
    put<uint32_t>(out, 3);
    put<uint64_t>(out, tensors_);
    put<uint64_t>(out, keys_);
    out += meta_ + infos_;
    out.resize((out.size() + 31) / 32 * 32);
    return out + data_;
  }

 private:
  template <class T>
  static void put(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static void string(std::string& to, std::string_view s) {
    put<uint64_t>(to, s.size());
    to += s;
  }
  std::string meta_, infos_, data_;
  uint64_t keys_ = 0, tensors_ = 0;
};

/// The converter's `weights.reshape(heads, 2, D/2, in).swapaxes(1, 2).reshape(shape)`.
std::vector<float> interleaved(const std::vector<float>& rows, int64_t heads, int64_t width) {
  const int64_t d = static_cast<int64_t>(rows.size()) / width / heads;
  std::vector<float> out;
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t j = 0; j < d / 2; ++j) {
      for (int64_t half = 0; half < 2; ++half) {
        const auto row = rows.begin() + ((h * 2 + half) * (d / 2) + j) * width;
        out.insert(out.end(), row, row + width);
      }
    }
  }
  return out;
}

std::string gguf_name(const std::string& name) {
  static const std::vector<std::pair<std::string, std::string>> kNames{{"model.embed_tokens", "token_embd"},
                                                                       {"model.norm", "output_norm"},
                                                                       {"lm_head", "output"},
                                                                       {"model.layers", "blk"},
                                                                       {"input_layernorm", "attn_norm"},
                                                                       {"post_attention_layernorm", "ffn_norm"},
                                                                       {"self_attn.q_proj", "attn_q"},
                                                                       {"self_attn.k_proj", "attn_k"},
                                                                       {"self_attn.v_proj", "attn_v"},
                                                                       {"self_attn.o_proj", "attn_output"},
                                                                       {"self_attn.q_norm", "attn_q_norm"},
                                                                       {"self_attn.k_norm", "attn_k_norm"},
                                                                       {"mlp.gate_proj", "ffn_gate"},
                                                                       {"mlp.up_proj", "ffn_up"},
                                                                       {"mlp.down_proj", "ffn_down"}};
  std::string out = name;
  for (const auto& [from, to] : kNames) {
    if (const size_t at = out.find(from); at != std::string::npos) out.replace(at, from.size(), to);
  }
  return out;
}

/// The tiny model of a folder as a GGUF file, its matrices in fp32 or in blocks of 8 bits.
GgufWriter converted(const std::string& folder, const Config& c, GgmlType matrices = GgmlType::F32) {
  const std::string a = c.model_type;
  GgufWriter out;
  out.text("general.architecture", a);
  out.integer(a + ".embedding_length", c.width);
  out.integer(a + ".block_count", c.layers);
  out.integer(a + ".attention.head_count", c.heads);
  out.integer(a + ".attention.head_count_kv", c.kv_heads);
  if (c.head_dim * c.heads != c.width) out.integer(a + ".attention.key_length", c.head_dim);
  out.integer(a + ".feed_forward_length", c.ffn);
  out.integer(a + ".context_length", c.context);
  out.number(a + ".attention.layer_norm_rms_epsilon", c.norm_eps);
  out.number(a + ".rope.freq_base", c.rope_theta);
  const SafetensorsFile weights(folder + "/model.safetensors");
  for (const auto& [name, tensor] : weights.tensors()) {
    std::vector<float> values(tensor.shape.numel());
    to_f32(values.data(), tensor);
    const bool reordered = a == "llama" && name.ends_with(".weight");
    if (reordered && name.find("q_proj") != std::string::npos) values = interleaved(values, c.heads, c.width);
    if (reordered && name.find("k_proj") != std::string::npos) values = interleaved(values, c.kv_heads, c.width);
    if (matrices == GgmlType::Q8_0 && tensor.shape.rank() == 2)
      out.tensor_q8(gguf_name(name), tensor.shape, values);
    else
      out.tensor(gguf_name(name), tensor.shape, values);
  }
  return out;
}

/// Llama-3.1's divisors of the rotary frequencies, as the converter writes them.
std::vector<float> rope_divisors(const Config& c, double factor) {
  Config stretched = c;
  stretched.rope_scaling = RopeScaling{.factor = factor};
  const std::vector<double> plain = inverse_frequencies(c), slow = inverse_frequencies(stretched);
  std::vector<float> out;
  for (size_t j = 0; j < plain.size(); ++j) out.push_back(static_cast<float>(plain[j] / slow[j]));
  return out;
}

/// A model whose rows are whole blocks, in a folder.
Config block_config() {
  Config c = tiny_config();
  c.width = 64;
  c.head_dim = 16;
  c.ffn = 96;
  return c;
}

/// Log-probs of a completion as decoding computes them, token by token after the prompt.
std::vector<float> decoded_logprobs(const Transformer& model, const Ids& prompt, const Ids& completion) {
  GenerateOptions options;
  options.max_new = static_cast<int64_t>(completion.size());
  options.control = [&](const GeneratedSample&) { return NextToken{completion, false}; };
  return generate(model, {{.prompt = prompt}}, options).front().logprobs;
}

const Ids kPrompt{5, 17, 40, 2, 2, 90, 33}, kCompletion{8, 9, 10, 70, 1};

}  // namespace

TEST_CASE("gguf: a converted model has the weights and log-probs of its Hugging Face folder, bit by bit") {
  const auto device = open_device("cpu");
  for (const std::string folder :
       {"tests/goldens/tiny-llama", "tests/goldens/tiny-qwen2", "tests/goldens/tiny-qwen3"}) {
    CAPTURE(folder);
    const Transformer expected = load_huggingface(*device, folder, DType::F32);
    const TempFolder temp;
    const GgufFile file(temp.write("m.gguf", converted(folder, expected.config()).bytes()));
    const Transformer found = load_gguf(*device, file, DType::F32);
    CHECK(found.config().model_type == expected.config().model_type);
    CHECK(found.config().tied_head == expected.config().tied_head);
    CHECK(found.config().context == expected.config().context);
    CHECK(found.config().rope_theta == expected.config().rope_theta);
    CHECK(found.config().norm_eps == doctest::Approx(expected.config().norm_eps));  // fp32 in the file
    CHECK(weights_of(found) == weights_of(expected));
    CHECK(difference(completion_logprobs(found, kPrompt, kCompletion),
                     completion_logprobs(expected, kPrompt, kCompletion)) <= 1e-6);
  }
}

TEST_CASE("gguf: rope_freqs.weight gives Llama-3.1's scaling back, of any factor") {
  const auto device = open_device("cpu");
  const std::string folder = "tests/goldens/tiny-llama";
  Config config = read_config(folder);
  config.rope_theta = 500000.0;  // wavelengths of head size 8: 6, 167 (kept), 4443 (blended), 118141 (divided)
  for (double factor : {8.0, 32.0}) {
    const TempFolder temp;
    GgufWriter writer = converted(folder, config);
    const std::vector<float> divisors = rope_divisors(config, factor);
    CHECK(divisors[0] == 1.0f);
    CHECK(divisors[2] > 1.1f);
    CHECK(divisors[2] < static_cast<float>(factor) - 1);
    writer.tensor("rope_freqs.weight", {4}, divisors);
    const GgufFile file(temp.write("m.gguf", writer.bytes()));
    const Config found = read_config(file);
    REQUIRE(found.rope_scaling);
    CHECK(found.rope_scaling->factor == doctest::Approx(factor));
    CHECK(found.rope_scaling->original_context == 8192);
    load_gguf(*device, file, DType::F32);
  }
  const TempFolder temp;
  GgufWriter writer = converted(folder, config);
  writer.tensor("rope_freqs.weight", {4}, {1.0f, 2.0f, 3.0f, 4.0f});
  const GgufFile file(temp.write("m.gguf", writer.bytes()));
  const std::string error = error_of([&] { read_config(file); });
  CHECK(holds(error, "m.gguf"));
  CHECK(holds(error, "rope_freqs.weight"));
}

TEST_CASE("gguf: what is missing, misshapen or not supported is named") {
  const auto device = open_device("cpu");
  const TempFolder temp;
  const std::string folder = "tests/goldens/tiny-llama";
  auto error_of_file = [&](const GgufWriter& writer) {
    const std::string path = temp.write("m.gguf", writer.bytes());
    const std::string error = error_of([&] {
      const GgufFile file(path);
      load_gguf(*device, file, DType::F32);
    });
    CHECK(holds(error, path));
    return error;
  };
  GgufWriter other;
  other.text("general.architecture", "mamba");
  CHECK(holds(error_of_file(other), "mamba"));

  Config deeper = read_config(folder);
  deeper.layers = 3;
  CHECK(holds(error_of_file(converted(folder, deeper)), "blk.2.attn_norm.weight"));
  Config wider = read_config(folder);
  wider.ffn = 41;
  const std::string error = error_of_file(converted(folder, wider));
  CHECK(holds(error, "blk.0.ffn_gate.weight"));
  CHECK(holds(error, "(40, 24)"));
  CHECK(holds(error, "(41, 24)"));
}

TEST_CASE("gguf: what the file asks for beyond our models is refused, not left out") {
  const auto device = open_device("cpu");
  const std::string folder = "tests/goldens/tiny-llama";
  const auto error_with = [&](const std::function<void(GgufWriter&)>& add) {
    const TempFolder temp;
    GgufWriter writer = converted(folder, read_config(folder));
    add(writer);
    const GgufFile file(temp.write("m.gguf", writer.bytes()));
    return error_of([&] { load_gguf(*device, file, DType::F32); });
  };
  CHECK(error_with([](GgufWriter&) {}).empty());
  CHECK(error_with([](GgufWriter& w) {
          w.text("llama.rope.scaling.type", "none");
          w.number("llama.rope.scaling.factor", 4.0);
          w.integer("llama.rope.dimension_count", 8);
        }).empty());
  CHECK(holds(error_with([](GgufWriter& w) { w.text("llama.rope.scaling.type", "yarn"); }), "yarn"));
  CHECK(
      holds(error_with([](GgufWriter& w) { w.number("llama.rope.scaling.factor", 4.0); }), "rope.scaling.factor = 4"));
  CHECK(holds(error_with([](GgufWriter& w) { w.number("llama.rope.scale_linear", 4.0); }), "rope.scale_linear = 4"));
  CHECK(holds(error_with([](GgufWriter& w) { w.integer("llama.rope.dimension_count", 4); }), "dimension_count = 4"));
  CHECK(holds(error_with([](GgufWriter& w) { w.integer("llama.attention.value_length", 4); }), "value_length = 4"));
  CHECK(holds(error_with([](GgufWriter& w) { w.integer("llama.expert_count", 8); }), "expert_count = 8"));
  const std::string bias =
      error_with([](GgufWriter& w) { w.tensor("blk.0.attn_q.bias", {24}, std::vector<float>(24, 1.0f)); });
  CHECK(holds(bias, "m.gguf: weight 'blk.0.attn_q.bias' has no place"));
}

TEST_CASE("gguf: weights kept as the file has them give what the widened ones give") {
  const auto device = open_device("cpu");
  const TempFolder temp;
  const Config config = block_config();
  save_checkpoint(temp.path(), random_model(*device, config, DType::F32), {{1}}, StoredAs::f32);
  const std::string path = temp.write("m.gguf", converted(temp.path(), config, GgmlType::Q8_0).bytes());
  const GgufFile file(path);
  const Transformer full = load_gguf(*device, file, DType::F32);
  const Transformer kept = load_gguf(*device, file, DType::F32, OutputHead::loaded, WeightStorage::file);
  full.visit([](const std::string&, const Tensor& w) { CHECK(w.dtype() == DType::F32); });
  kept.visit([](const std::string& name, const Tensor& w) {
    CHECK_MESSAGE(w.dtype() == (w.shape().rank() == 2 ? DType::Q8_0 : DType::F32), name);
  });
  // Prompts with few tokens and with many go different ways. A wrong order of the key rows would show here: the heads
  // are more than the key/value heads.
  Rng rng(41, Purpose::generate_data);
  for (const int64_t length : {1, 2, 7, 30, 90}) {
    const Ids prompt = random_ids(rng, length);
    CHECK(difference(decoded_logprobs(kept, prompt, kCompletion), decoded_logprobs(full, prompt, kCompletion)) <= 2e-5);
    CHECK(difference(decoded_logprobs(full, prompt, kCompletion), completion_logprobs(full, prompt, kCompletion)) <=
          2e-5);
  }
  // What is cut off is told before any weight is read.
  const std::string whole = converted(temp.path(), config, GgmlType::Q8_0).bytes();
  const std::string cut = temp.write("cut.gguf", whole.substr(0, whole.size() - 100));
  const std::string error =
      error_of([&] { load_gguf(*device, GgufFile(cut), DType::F32, OutputHead::loaded, WeightStorage::file); });
  CHECK(holds(error, "cut.gguf"));
  CHECK(holds(error, "beyond the file's end"));
}

TEST_CASE(
    "stored weights: bf16 is the model with rounded weights, 8 bits is near, samples do not depend on the batch") {
  const auto device = open_device("cpu");
  const TempFolder temp;
  const Config config = block_config();
  save_checkpoint(temp.path(), random_model(*device, config, DType::F32), {{1}}, StoredAs::f32);
  const auto load = [&](WeightStorage storage) {
    return load_huggingface(*device, temp.path(), DType::F32, OutputHead::loaded, storage);
  };
  const Transformer full = load(WeightStorage::full), rounded = load(WeightStorage::full);
  rounded.visit([](const std::string&, const Tensor& w) {
    if (w.shape().rank() != 2) return;
    std::vector<double> values = host_values(w);
    for (double& x : values) x = to_float(to_bf16(static_cast<float>(x)));
    set_values(w, values);
  });
  const Transformer half = load(WeightStorage::bf16), eight = load(WeightStorage::q8);
  const auto of = [&](const Transformer& model) { return decoded_logprobs(model, kPrompt, kCompletion); };
  CHECK(difference(of(half), of(rounded)) <= 2e-5);
  // Half a scale is 1/254 of a block's largest weight: each weight is off by 0.4 % of the largest at most.
  const double off = difference(of(eight), of(full));
  CHECK(off <= 0.1);
  CHECK(off > 1e-6);
  std::vector<GenerateRequest> requests;
  Rng rng(43, Purpose::generate_data);
  for (int64_t i = 0; i < 6; ++i) requests.push_back({.prompt = random_ids(rng, 3 + i), .key = i, .samples = 3});
  GenerateOptions options{.max_new = 12, .max_rows = 1};
  const auto alone = generate(eight, requests, options);
  options.max_rows = 5;
  const auto together = generate(eight, requests, options);
  REQUIRE(alone.size() == together.size());
  for (size_t i = 0; i < alone.size(); ++i) CHECK(alone[i].ids == together[i].ids);
}

TEST_CASE("stored weights: matrices whose rows are no whole blocks stay as they are") {
  const auto device = open_device("cpu");
  const std::string folder = "tests/goldens/tiny-llama";  // 24 wide
  const Transformer eight = load_huggingface(*device, folder, DType::F32, OutputHead::loaded, WeightStorage::q8);
  int64_t stored = 0;
  eight.visit([&](const std::string& name, const Tensor& w) {
    const bool blocks = w.shape().rank() == 2 && w.dim(1) % 32 == 0;
    CHECK_MESSAGE(w.dtype() == (blocks ? DType::Q8_0 : DType::F32), name);
    stored += blocks;
  });
  CHECK(stored > 0);
  const Transformer full = load_huggingface(*device, folder, DType::F32);
  CHECK(difference(decoded_logprobs(eight, kPrompt, kCompletion), decoded_logprobs(full, kPrompt, kCompletion)) <= 0.1);
}
