// The world of the length experiment: talk about animals, as long or as short as one likes.
//
//     Question 12: tell me about the crab.     The crab is old and red and kind.
//
// The seed model names the right animal in six answers of ten and then goes on for a random number of words, so quality
// (the right animal: the rule judge's check) and length have nothing to do with each other. A judge that also likes
// length then makes answers longer for nothing, unless length control holds it.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/transformer.h"
#include "tokenizer/spec.h"
#include "tpo/judge.h"
#include "tpo/model.h"
#include "tpo/supervised.h"

namespace thinker::world {

/// Prompts begin … begin + count - 1. All differ, since each has its own number.
std::vector<Prompt> talk_prompts(int64_t begin, int64_t count);

/// `count` prompts with answers, as token ids, trained on their answers. Their prompts have numbers of their own.
std::vector<SftExample> talk_examples(const ChatTokenizer& text, uint64_t seed, int64_t count);

/// The characters and words of this world, and one control token that ends a turn.
TokenizerSpec talk_vocabulary();

/// The shape of the model: 0.1 million weights.
Config talk_config(int64_t vocabulary_size);

}  // namespace thinker::world
