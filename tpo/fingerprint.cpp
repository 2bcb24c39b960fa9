#include "tpo/fingerprint.h"

#include <openssl/evp.h>

#include <vector>

#include "nn/lora.h"
#include "tensor/check.h"

namespace thinker {

namespace {

std::string hexadecimal(std::span<const unsigned char> digest) {
  std::string hex;
  for (unsigned char byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

}  // namespace

std::string sha256(std::span<const std::byte> bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  ENSURE(EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) == 1, "SHA-256 failed");
  return hexadecimal(std::span(digest, size));
}

Fingerprint::Fingerprint() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  ENSURE(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, "SHA-256 failed");
}

Fingerprint& Fingerprint::add(std::span<const std::byte> bytes) {
  const uint64_t size = bytes.size();
  ENSURE(EVP_DigestUpdate(context_.get(), &size, sizeof size) == 1 &&
             EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1,
         "SHA-256 failed");
  return *this;
}

Fingerprint& Fingerprint::add(const Transformer& model) {
  std::vector<std::byte> host;
  const auto add_tensor = [&](const std::string& name, const Tensor& weight) {
    host.resize(weight.bytes());
    model.device().backend().copy_to_host(host.data(), weight.raw(), weight.bytes());
    add(name).add(host);
  };
  model.visit(add_tensor);
  if (!model.lora()) return *this;
  model.lora()->visit(add_tensor);
  add(model.lora()->scale());
  return *this;
}

std::string Fingerprint::text() const {
  const Fingerprint copy;  // more may be added to this one
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  ENSURE(EVP_MD_CTX_copy_ex(copy.context_.get(), context_.get()) == 1 &&
             EVP_DigestFinal_ex(copy.context_.get(), digest, &size) == 1,
         "SHA-256 failed");
  return "sha256:" + hexadecimal(std::span(digest, size));
}

}  // namespace thinker
