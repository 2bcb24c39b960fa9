// The base requests: patterns times topics, by category. '#' in a pattern is the topic.
#include <vector>

#include "tpo/constraints.h"

namespace thinker {

namespace {

struct Family {
  const char* category;
  std::vector<const char*> patterns;
  std::vector<const char*> topics;
};

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      {"explaining",
       {"Explain # to a child.", "Explain in simple words: #.", "Help me understand #."},
       {"how rain forms", "why the sky is blue", "how a bicycle stays upright", "why leaves change colour",
        "how a magnet works", "why we sleep", "how a seed becomes a tree", "why the moon changes shape",
        "how bread rises", "why ice floats", "how a telephone works", "why we have seasons", "how birds fly",
        "why we yawn", "how a rainbow appears", "why the sea is salty", "how a clock keeps time", "why cats purr"}},
      {"how-to",
       {"Tell me how to #.", "What are the steps to #?", "I have never done it before: how do I #?"},
       {"boil an egg", "wash a woollen sweater", "plant tomatoes", "change a light bulb", "make a cup of tea",
        "wrap a present", "clean a window", "pack a suitcase", "sew on a button", "sharpen a pencil with a knife",
        "fold a shirt", "set a table", "build a sand castle", "bathe a dog", "paint a wall", "fix a flat tyre",
        "start a campfire", "make pancakes"}},
      {"stories",
       {"Tell a short story about #.", "Write the beginning of a story about #.", "Invent a bedtime story about #."},
       {"a lost umbrella", "a fox who learns to read", "two brothers on an island", "a robot in a bakery",
        "a train that never stops", "a shy dragon", "an old lighthouse keeper", "a girl who finds a map",
        "a talking teapot", "a snowman in summer", "a mouse at sea", "a village without a clock",
        "a knight who is afraid of horses", "a letter that comes too late", "a garden on a roof",
        "the last day of school", "a ghost who cannot scare anyone", "a baker who lost his sense of taste"}},
      {"poems",
       {"Write a poem about #.", "Write a few lines of verse about #."},
       {"autumn", "the sea at night", "a cup of coffee", "an empty street", "my grandmother's kitchen",
        "the first snow", "a sleeping cat", "old shoes", "a river", "spring rain", "the stars", "a broken clock",
        "a long journey", "silence", "a market in the morning", "the wind"}},
      {"advice",
       {"Give me some advice: #.", "What would you tell a friend who says this: #?"},
       {"I cannot fall asleep", "I am nervous about a job interview", "I keep forgetting names",
        "I want to read more books", "my neighbour is too loud", "I spend too much money", "I want to learn to cook",
        "I am always late", "I am new in town", "I want to get up earlier", "I argue with my sister",
        "I am afraid of flying", "I want to drink less coffee", "I cannot decide what to study",
        "my desk is always a mess", "I feel tired in the afternoon"}},
      {"messages",
       {"Write a short message #.", "Write a friendly email #."},
       {"to thank a teacher", "to invite friends to a picnic", "to cancel a dinner",
        "to ask a neighbour to water the plants", "to apologise for being late",
        "to congratulate a cousin on a new job", "to ask a library about its opening hours",
        "to welcome a new colleague", "to decline a party invitation", "to wish my aunt a happy birthday",
        "to ask for a day off", "to remind the team of a meeting", "to return a broken lamp to a shop",
        "to say goodbye to a class", "to offer help with moving house", "to ask a hotel for a quiet room"}},
      {"descriptions",
       {"Describe #.", "Paint a picture in words of #."},
       {"a busy railway station", "a quiet forest", "your ideal kitchen", "a winter morning", "a small fishing harbour",
        "an old library", "a thunderstorm", "a farmers' market", "a desert at noon", "a mountain village",
        "a crowded beach", "a carpenter's workshop", "a city seen from above", "a child's bedroom", "a garden in May",
        "a bakery before sunrise"}},
      {"comparisons",
       {"Compare #.", "What is the difference between #?", "Which would you choose and why: #?"},
       {"tea and coffee", "cats and dogs", "trains and buses", "summer and winter", "books and films",
        "the city and the country", "a lake and the sea", "apples and oranges", "walking and cycling",
        "letters and emails", "butter and oil", "the sun and the moon", "a piano and a guitar",
        "breakfast and dinner"}},
      {"facts",
       {"Tell me something about #.", "What should everybody know about #?", "Write a short introduction to #."},
       {"elephants", "the planet Mars", "honey bees", "volcanoes", "the city of Rome", "penguins", "the human heart",
        "rice", "the Nile", "whales", "chess", "glass", "the alphabet", "bamboo", "the compass", "spiders", "chocolate",
        "owls"}},
      {"advertising",
       {"Write an advertisement for #.", "Make up a slogan and a short text for #."},
       {"a new kind of umbrella", "a small bookshop", "homemade jam", "a bicycle repair shop",
        "a quiet hotel by a lake", "a walking tour", "a warm winter hat", "a piano teacher", "a vegetable garden kit",
        "a family restaurant", "an unbreakable mug", "a dog walking service", "a night at the museum",
        "a very comfortable chair"}},
      {"travel",
       {"What can one do in # in a day?", "Recommend a visit to #.", "What should I pack for a trip to #?"},
       {"Paris", "a small island", "the Alps", "Tokyo", "a national park", "Cairo", "the seaside in winter", "London",
        "a hot desert", "Lisbon", "a rain forest", "New York", "the countryside", "Istanbul"}},
      {"ideas",
       {"Suggest some ideas for #.", "Help me plan #.", "What is needed for #?"},
       {"a birthday party", "a rainy Sunday", "a healthy lunch", "a school play", "a present for my mother",
        "a weekend without a phone", "a small vegetable garden", "a picnic for ten people", "a first day at work",
        "a game for a long car ride", "a quiet evening", "a costume made of paper", "a club for young readers",
        "a breakfast in bed"}},
      {"opinions",
       {"Give reasons for and against #.", "Do you think that people need #? Explain.", "Make the case for #."},
       {"school uniforms", "homework", "long holidays", "pets in the office", "cars in the city", "early mornings",
        "zoos", "video games", "working from home", "paper books", "learning a second language", "public libraries",
        "daily exercise", "a four-day week"}},
  };
  return list;
}

}  // namespace

const std::vector<BaseRequest>& base_requests() {
  static const std::vector<BaseRequest> requests = [] {
    std::vector<BaseRequest> out;
    for (const Family& family : families())
      for (const std::string pattern : family.patterns)
        for (const char* topic : family.topics) {
          std::string text = pattern;
          out.push_back({family.category, text.replace(text.find('#'), 1, topic)});
        }
    return out;
  }();
  return requests;
}

}  // namespace thinker
