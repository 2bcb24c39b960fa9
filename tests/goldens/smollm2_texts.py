"""The fixed texts behind tests/goldens/smollm2/: prompts, scored completions and preference pairs. Not run by itself."""


def user(*turns, system=None):
    """Messages of a conversation whose turns alternate, the user's first."""
    head = [{"role": "system", "content": system}] if system else []
    return head + [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]


PASSAGE = """The lighthouse at Gull Point was built in 1874 from granite that came by barge. For its first forty years three \
keepers lived there with their families, kept a cow and a small garden, and took turns through the night to wind the clockwork \
that turned the lamp. The oil was carried up 121 steps in brass cans. In 1914 the lamp was changed to one that burned vapour, \
which gave three times the light for less oil, and in 1932 a cable brought electricity from the village. The last keeper, a quiet \
man who painted birds, left in 1987, when a timer and a sensor took over his work. For some years the house stood empty and the \
roof let in rain. Then a group of neighbours bought it for one pound, repaired the roof with slates from an old barn, and opened \
two rooms for visitors. Today a family can stay there for a week; there is no television, but there is a shelf of books, a stove, \
and the keeper's paintings on the wall. Guests say that the sound of the sea keeps them awake on the first night and that they \
miss it on the first night at home."""

PROMPTS = [
    {"id": "short", "messages": user("Tell me about the moon.")},
    {"id": "capital", "messages": user("What is the capital of France? Answer in one short sentence.")},
    {"id": "system", "messages": user("How do I boil an egg?", system="You are a cook. Answer in plain steps.")},
    {"id": "turns", "messages": user("My name is Zoë and I have 3 cats.", "Nice to meet you, Zoë! What are your cats called?",
                                     "Miso, Tofu and Nori 🐈. Write a long poem about them.")},
    {"id": "digits", "messages": user("List the first 12 multiples of 17, separated by commas.\n\n\tThen stop.")},
    {"id": "passage", "messages": user(PASSAGE + "\n\nIn which year did the last keeper leave, and what did he paint?")},
]

SCORED = [
    {"id": "paris", "messages": user("What is the capital of France?"), "completion": "The capital of France is Paris."},
    {"id": "wrong", "messages": user("What is the capital of France?"), "completion": "Purple 42 elephants!!"},
    {"id": "one", "messages": user("Say yes or no: is water wet?"), "completion": "Yes"},
    {"id": "empty", "messages": user("Say nothing."), "completion": ""},
    {"id": "code", "messages": user("Write a Python function that adds two numbers."),
     "completion": "```python\ndef add(a, b):\n    return a + b\n```\n\n`add(2, 3)` gives 5."},
    {"id": "scripts", "messages": user("Say good morning in four languages."),
     "completion": "Guten Morgen, доброе утро, おはようございます, صباح الخير. ☀️"},
    {"id": "system", "messages": user("What do you think about it?", "About what?", "The weather in 2024.", system="Be brief."),
     "completion": "  It was the warmest year on record, by about 0.1 °C.\n"},
    {"id": "passage", "messages": user(PASSAGE + "\n\nSummarise this in one sentence."),
     "completion": "A lighthouse built in 1874 and run by keepers until 1987 fell into disrepair, and was then bought for one "
                   "pound by neighbours who repaired it and now let families stay there for a week."},
]

PAIRS = [
    {"id": "seasons", "messages": user("Why are there seasons on Earth?"),
     "chosen": "The Earth's axis is tilted by about 23 degrees. As we go around the Sun, first one half of the planet and then the "
               "other leans towards it and gets more light.",
     "rejected": "Because the Earth is closer to the Sun in summer and further away in winter, so it gets hotter and colder."},
    {"id": "commas", "messages": user("Write one sentence about autumn without using any comma."),
     "chosen": "Golden leaves drift slowly down onto the quiet path behind our house every October.",
     "rejected": "In autumn, the leaves turn red, yellow and brown, the days get shorter, and the air, which was warm, gets cold."},
    {"id": "list", "messages": user("Name three uses for an old newspaper. Use a numbered list."),
     "chosen": "1. Wrap fragile cups and plates before a move.\n2. Clean windows with a little vinegar.\n3. Line the compost bin.",
     "rejected": "Sure! Old newspapers are very useful and there are many things that you can do with them. Here are some ideas for "
                 "you that I hope will be"},
    {"id": "sum", "messages": user("Tom has 14 apples, gives 5 away and buys 8 more. How many apples does he have now?"),
     "chosen": "He has 14 - 5 = 9 apples left, and with 8 more he has 9 + 8 = 17 apples.",
     "rejected": "Tom has 14 + 5 + 8 = 27 apples now, because he bought some more apples from the shop."},
]

# Pairs whose rejected ids stop without the end token.
CUT_SHORT = {"list"}
