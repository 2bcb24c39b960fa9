// The kinds of thought that the seed model has met. The useful one leads to the answer: a worked solution where there
// are steps to follow, a draft where there are none. The others lead nowhere, and are long-winded about it.
//
//     worked   =north 1)left=west 2)back=east
//     draft    Draft: tsrq
//     doubt    I should be careful here. Is it east? Or south?
//     ramble   Let me think about this. What is being asked? That looks easy enough.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "tensor/rng.h"
#include "tools/world/world.h"

namespace thinker::world {

enum class ThoughtKind { worked, draft, doubt, ramble, other };
inline constexpr std::array<ThoughtKind, 5> kThoughtKinds = {
    ThoughtKind::worked, ThoughtKind::draft, ThoughtKind::doubt, ThoughtKind::ramble, ThoughtKind::other};

const char* name(ThoughtKind kind);

/// Two to five sentences that fit any task.
std::string ramble(Rng& rng);

/// A ramble that ends in two answers and leaves it open which one is right.
std::string doubt(Rng& rng, const std::string& one, const std::string& other);

/// What kind a thought is, by its form alone: a worked solution may be wrong. `other`: none of these, or nothing.
ThoughtKind kind_of(const std::string& thought);

/// The sentences and openings of these thoughts, one token each.
std::vector<std::string> thought_phrases();

}  // namespace thinker::world
