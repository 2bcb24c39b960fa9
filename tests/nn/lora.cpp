// Low-rank adapters: the forward with them, what learns and what does not, PEFT's numbers and PEFT's folders.
#include "nn/lora.h"

#include <filesystem>

#include "nn/generate.h"
#include "nn/optimizer.h"
#include "tensor/safetensors.h"
#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;
using nlohmann::json;

namespace {

const std::vector<Config> kConfigs{tiny_config(), tiny_qwen_config()};
const std::string kBase = "tests/goldens/tiny-llama", kAdapter = "tests/goldens/lora";

/// Adapters with a B that is not zero.
void add_random_lora(Transformer& model, const LoraOptions& options) {
  add_lora(model, options, 5, 1);
  Rng rng(6, Purpose::generate_data);
  model.lora()->visit([&](const std::string& name, const Tensor& x) {
    if (name.find("lora_B") == name.npos) return;
    std::vector<double> values(x.numel());
    for (double& v : values) v = static_cast<float>(0.3 * rng.normal());
    set_values(x, values);
  });
}

Batch some_batch() {
  Rng rng(1, Purpose::generate_data);
  Batch batch;
  const Batch::Prefix prompt = batch.add_prompt(random_ids(rng, 5));
  batch.add_completion(prompt, random_ids(rng, 4));
  batch.add_completion(prompt, random_ids(rng, 1));
  batch.add_completion(batch.add_prompt(random_ids(rng, 2)), random_ids(rng, 9));
  return batch;
}

std::vector<double> some_weights(const Batch& batch) {
  Rng rng(2, Purpose::generate_data);
  std::vector<double> weights(batch.rows.size());
  for (double& w : weights) w = rng.normal();
  return weights;
}

/// The adapters' gradients, by name.
Values adapter_gradients(const Transformer& model, const Batch& batch, const std::vector<double>& weights) {
  gradients_of_sum(model, batch, weights);
  Values all;
  model.lora()->visit([&](const std::string& name, const Tensor& x) { all[name] = host_gradient(x); });
  return all;
}

/// The same model with the adapters merged into its weights, which the model itself never does.
Transformer merged_copy(const Transformer& model) {
  Transformer copy(model.device(), model.config(), model.dtype());
  std::map<std::string, Tensor> sums;
  model.visit([&](const std::string& name, const Tensor& w) { sums[name] = merged(model, w); });
  copy.visit([&](const std::string& name, const Tensor& w) { set_values(w, host_values(sums.at(name))); });
  return copy;
}

}  // namespace

TEST_CASE("lora: fresh adapters change no bit; A is drawn as PEFT draws it") {
  const auto device = open_device("cpu");
  for (const Config& config : kConfigs) {
    Transformer model = random_model(*device, config, DType::F32);
    const Batch batch = some_batch();
    const std::vector<double> before = logprobs_of(model, batch);
    add_lora(model, {.rank = 5}, 7, 1);
    CHECK(logprobs_of(model, batch) == before);
    CHECK(logprobs_of(model, batch, Tape::Mode::record) == before);
    CHECK(model.lora()->parameters() == 2 * 5 * (24 + 40 + 2 * (24 + config.kv_heads * 10) + 40 + 24 + 3 * (24 + 39)));

    double greatest = 0, sum = 0, n = 0;
    model.lora()->visit([&](const std::string& name, const Tensor& x) {
      for (double v : host_values(x)) {
        if (name.ends_with("lora_B.weight")) CHECK(v == 0.0);
        if (name.ends_with("lora_B.weight")) continue;
        const double share = v * std::sqrt(static_cast<double>(x.dim(1)));  // of the bound
        greatest = std::fmax(greatest, std::fabs(share));
        sum += share * share;
        n += 1;
      }
    });
    CHECK(greatest <= 1.0);
    CHECK(greatest > 0.98);
    CHECK(std::fabs(sum / n - 1.0 / 3.0) < 0.05);  // a uniform draw's mean square
  }
}

TEST_CASE("lora: a layer's draw depends on seed and iteration, not on which other layers have adapters") {
  const auto device = open_device("cpu");
  const auto draw = [&](const LoraOptions& options, uint64_t seed, uint32_t iteration) {
    Transformer model = random_model(*device, tiny_config(), DType::F32);
    add_lora(model, options, seed, iteration);
    Values values;
    model.lora()->visit([&](const std::string& name, const Tensor& x) { values[name] = host_values(x); });
    return values;
  };
  const Values all = draw({.rank = 3}, 1, 1), few = draw({.rank = 3, .targets = {"up_proj", "v_proj"}}, 1, 1);
  CHECK(few.size() == 8);
  for (const auto& [name, values] : few) CHECK_MESSAGE(all.at(name) == values, name);
  CHECK(draw({.rank = 3}, 1, 1) == all);
  CHECK(draw({.rank = 3}, 2, 1) != all);
  CHECK(draw({.rank = 3}, 1, 2) != all);
}

TEST_CASE("lora: gradients of every A and B against central differences, with and without recomputing blocks") {
  const auto device = open_device("cpu");
  const Batch batch = some_batch();
  const std::vector<double> weights = some_weights(batch);
  for (const Config& config : kConfigs) {
    for (Recompute recompute : {Recompute::nothing, Recompute::blocks}) {
      Transformer model = random_model(*device, config, DType::F64);
      add_random_lora(model, {.rank = 3, .alpha = 5});
      model.set_recompute(recompute);
      const auto loss = [&] {
        double sum = 0;
        const std::vector<double> logprobs = logprobs_of(model, batch);
        for (size_t i = 0; i < logprobs.size(); ++i) sum += weights[i] * logprobs[i];
        return sum;
      };
      const Values gradients = adapter_gradients(model, batch, weights);
      Rng rng(8, Purpose::generate_data);
      model.lora()->visit([&](const std::string& name, const Tensor& x) {
        std::vector<double> values = host_values(x);
        for (int tries = 0; tries < 3; ++tries) {
          const int64_t i = rng.below(x.numel());
          const double start = values[i], step = 1e-5;
          const auto at = [&](double value) {
            values[i] = value;
            set_values(x, values);
            return loss();
          };
          const double numeric = (at(start + step) - at(start - step)) / (2 * step);
          at(start);
          const double off = std::fabs(gradients.at(name)[i] - numeric);
          CHECK_MESSAGE(off <= 1e-6 * (1 + std::fabs(numeric)), name, " ", i, ": ", gradients.at(name)[i], " ",
                        numeric);
        }
      });
    }
  }
}

TEST_CASE("lora: the adapted model is the merged model: log-probs, cached and packed decoding") {
  const auto device = open_device("cpu");
  const Batch batch = some_batch();
  for (const Config& config : kConfigs) {
    for (DType t : {DType::F32, DType::F64}) {
      for (const std::vector<std::string>& targets : {lora_targets(), {"down_proj", "k_proj"}}) {
        Transformer model = random_model(*device, config, t);
        const std::vector<double> plain = logprobs_of(model, batch);
        add_random_lora(model, {.rank = 3, .alpha = 5, .targets = targets});
        const std::vector<double> adapted = logprobs_of(model, batch);
        CHECK(difference(adapted, plain) > 0.1);
        CHECK(difference(adapted, logprobs_of(merged_copy(model), batch)) <= (t == DType::F32 ? 2e-5 : 1e-12));
        model.set_adapters(Adapters::off);
        CHECK(logprobs_of(model, batch) == plain);
      }
    }
    Transformer model = random_model(*device, config, DType::F32);
    add_random_lora(model, {.rank = 3, .alpha = 5});
    Rng rng(3, Purpose::generate_data);
    for (int64_t prompts : {1, 9}) {  // where oneDNN packs: read as they lie, and packed
      std::vector<GenerateRequest> requests;
      for (int64_t i = 0; i < prompts; ++i) requests.push_back({.prompt = random_ids(rng, 3 + i), .key = i});
      const GenerateOptions options{.max_new = 12, .sampling = {.greedy = true}};
      const auto found = generate(model, requests, options), wanted = generate(merged_copy(model), requests, options);
      REQUIRE(found.size() == wanted.size());
      for (size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].ids == wanted[i].ids);
        CHECK(difference(found[i].logprobs, wanted[i].logprobs) <= 5e-5);
        CHECK(difference(found[i].logprobs, completion_logprobs(model, requests[i].prompt, found[i].ids)) <= 5e-5);
      }
    }
  }
}

TEST_CASE("lora: training moves the adapters only; the weights keep their bits and hold neither gradient nor state") {
  const auto device = open_device("cpu");
  Transformer model = random_model(*device, tiny_config(), DType::F32);
  const Batch batch = some_batch();
  const std::vector<double> weights = some_weights(batch);
  gradients_of_sum(model, batch, weights);  // what an earlier training left
  const Values before = weights_of(model);
  const std::vector<double> plain = logprobs_of(model, batch);
  add_lora(model, {.rank = 3, .targets = {"q_proj", "up_proj"}}, 1, 1);
  AdamW optimizer(model, {});
  for (int step = 0; step < 3; ++step) {
    adapter_gradients(model, batch, weights);
    optimizer.step(1e-2);
  }
  CHECK(weights_of(model) == before);
  model.visit([](const std::string& name, const Tensor& w) { CHECK_MESSAGE(w.grad() == nullptr, name); });
  CHECK(difference(logprobs_of(model, batch), plain) > 1e-2);
  model.lora()->visit([](const std::string& name, const Tensor& x) {
    double most = 0;
    for (double v : host_values(x)) most = std::fmax(most, std::fabs(v));
    CHECK_MESSAGE(most > 1e-3, name);
  });
  const TempFolder folder;
  optimizer.save(folder / "state.safetensors");
  CHECK(SafetensorsFile(folder / "state.safetensors").tensors().size() == 2 * 2 * 2 * 2);  // m, v; layers; A, B
  model.set_adapters(Adapters::off);
  CHECK(logprobs_of(model, batch) == plain);
}

TEST_CASE("lora: a folder gives back the same bits; a checkpoint holds the merged weights") {
  const auto device = open_device("cpu");
  const TempFolder folder;
  for (const Config& config : kConfigs) {
    Transformer model = random_model(*device, config, DType::F32);
    add_random_lora(model, {.rank = 3, .alpha = 2.5, .targets = {"v_proj", "gate_proj"}});
    save_adapter(folder / "adapter", model, "some/model");
    Transformer again = random_model(*device, config, DType::F32);
    again.attach(read_adapter(folder / "adapter", again));
    CHECK(again.lora()->options().alpha == 2.5);
    CHECK(again.lora()->options().targets == std::vector<std::string>{"v_proj", "gate_proj"});
    CHECK(logprobs_of(again, some_batch()) == logprobs_of(model, some_batch()));
    save_checkpoint(folder / "checkpoint", model, {}, StoredAs::f32);
    CHECK(weights_of(load_huggingface(*device, folder / "checkpoint", DType::F32)) == weights_of(merged_copy(model)));
  }
}

TEST_CASE("lora goldens: logits, log-probs and the gradient of every A and B, from a folder that PEFT wrote") {
  const auto device = test_device();
  const json golden = read_json(kAdapter + "/golden.json");
  const SafetensorsFile expected(kAdapter + "/values.safetensors");
  const auto wanted = [&](const std::string& name) {
    const NamedTensor& tensor = expected.tensors().at(name);
    std::vector<float> values(tensor.shape.numel());
    to_f32(values.data(), tensor);
    return values;
  };
  for (DType t : {DType::F32, DType::F64}) {
    CAPTURE(name(t));
    const double rounds = t == DType::F64 ? 2.0 : 10.0;
    Transformer model = load_huggingface(*device, kBase, t);
    model.attach(read_adapter(kAdapter, model));
    const auto most = [&](const char* section) { return rounds * golden["rounding"][section].get<double>(); };

    Batch batch;
    double n = 0;
    for (const json& row : golden["score"]) {
      const Ids prompt = row["prompt_ids"], completion = row["completion_ids"];
      CHECK(difference(completion_logprobs(model, prompt, completion), row["logprobs"].get<std::vector<double>>()) <=
            most("score"));
      batch.add_completion(batch.add_prompt(prompt), completion);
      n += static_cast<double>(completion.size());
    }
    const Values gradients = adapter_gradients(model, batch, std::vector<double>(batch.rows.size(), -1.0 / n));
    CHECK(gradients.size() + 1 == expected.tensors().size());
    for (const auto& [name, values] : gradients) CHECK_MESSAGE(difference(values, wanted(name)) <= most("grads"), name);

    Batch sequence;
    sequence.add_prompt(golden["sequence"].get<Ids>());
    for (int32_t i = 0; i < sequence.size(); ++i) sequence.rows.push_back(i);
    Tape tape(*device, Tape::Mode::no_grad);
    CHECK(difference(host_values(model.logits(tape, sequence)), wanted("logits")) <= most("logits"));
  }
}

TEST_CASE("lora: a folder that does not fit is refused in one line that says why") {
  const auto device = open_device("cpu");
  const Transformer model = load_huggingface(*device, kBase, DType::F32);
  const json good = read_json(kAdapter + "/adapter_config.json");
  const SafetensorsFile file(kAdapter + "/adapter_model.safetensors");
  const std::string q_a = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";
  const auto error_with = [&](const json& config, const std::function<void(std::vector<NamedTensor>&)>& change = {}) {
    const TempFolder folder;
    folder.write("adapter_config.json", config.dump());
    std::vector<NamedTensor> tensors;
    for (const auto& [name, tensor] : file.tensors()) tensors.push_back(tensor);
    if (change) change(tensors);
    write_safetensors(folder / "adapter_model.safetensors", tensors);
    const std::string error = error_of([&] { read_adapter(folder.path(), model); });
    CHECK(error.find('\n') == error.npos);
    return error;
  };
  const auto find = [&](std::vector<NamedTensor>& tensors) -> NamedTensor& {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const NamedTensor& t) { return t.name == q_a; });
  };
  CHECK(error_with(good).empty());
  const std::vector<std::pair<json, std::string>> configs{
      {{{"peft_type", "IA3"}}, "peft_type 'IA3' is not supported"},
      {{{"r", nullptr}}, "\"r\" is missing"},
      {{{"r", 0}}, "\"r\" is 0"},
      {{{"r", uint64_t{1} << 63}}, "\"r\" is 9223372036854775808, which is too large"},
      {{{"r", 4}}, "has shape (5, 24); the model and \"r\": 4 ask for (4, 24)"},
      {{{"lora_alpha", "7"}}, "\"lora_alpha\" is not a number"},
      {{{"lora_alpha", 0}}, "\"lora_alpha\" is missing or not above 0"},
      {{{"target_modules", "all-linear"}}, "\"target_modules\" is missing or not a list"},
      {{{"target_modules", {"q_proj", "c_attn"}}}, "target module 'c_attn' is not supported; q_proj, k_proj"},
      {{{"target_modules", {"q_proj"}}}, "belongs to no layer"},
      {{{"use_dora", true}}, "'use_dora' is set"},
      {{{"use_rslora", true}}, "'use_rslora' is set"},
      {{{"modules_to_save", {"lm_head"}}}, "'modules_to_save' is set"},
      {{{"rank_pattern", {{"q_proj", 2}}}}, "'rank_pattern' is set"},
      {{{"bias", "all"}}, "'bias' is set"},
      {{{"init_lora_weights", "pissa"}}, "'init_lora_weights' is set"},
      {{{"fan_in_fan_out", true}}, "'fan_in_fan_out' is set"},
      {{{"of_tomorrow", {{"kind", 1}}}}, "'of_tomorrow' is set"},
  };
  for (const auto& [change, reason] : configs) {
    json config = good;
    config.update(change);
    const std::string error = error_with(config);
    CAPTURE(error);
    CHECK(error.find(reason) != error.npos);
  }
  CHECK(error_with(good, [&](auto& t) { find(t).name += "s"; }).find("'" + q_a + "' is missing") != std::string::npos);
  CHECK(error_with(good, [&](auto& t) { find(t).shape = {24, 5}; }).find("has shape (24, 5)") != std::string::npos);
  CHECK(error_with(good, [&](auto& t) {
          NamedTensor more = t.front();
          more.name = "base_model.model.lm_head.lora_A.weight";
          t.push_back(more);
        }).find("'base_model.model.lm_head.lora_A.weight' belongs to no layer") != std::string::npos);
  const TempFolder empty;
  CHECK(error_of([&] { read_adapter(empty.path(), model); }).find("adapter_config.json") != std::string::npos);
  empty.write("adapter_config.json", good.dump());
  CHECK(error_of([&] { read_adapter(empty.path(), model); }).find("adapter_model.safetensors") != std::string::npos);
}
