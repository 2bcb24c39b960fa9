"""Makes tests/goldens/tokenizer/: what other programs' tokenizers answer, for our tests to compare with.

    python tests/goldens/make_tokenizer_goldens.py [models/SmolLM2-135M-Instruct.Q4_1.gguf]

Needs tokenizers and transformers; with the model file also gguf, and llama-cpp-python to have a second witness. Writes
  <pattern>/               tokenizer.json (vocabulary of 600, trained here) and probes.jsonl {"text", "ids"} for each pattern
  trained/                 corpus.txt and what the tokenizers library learns from it: our trainer must learn the same
  decode.jsonl             {"ids", "text", "skipped"}: random ids of the gpt2 vocabulary, decoded with and without specials
  smollm2.jsonl            {"text", "ids"}: the same probes with the real vocabulary
  smollm2_chat.jsonl       {"messages", "generation_prompt", "ids"}
  chat_templates.jsonl     one line: our wording of each family's Jinja template, and the control tokens to add to the vocabulary
  chats.jsonl              {"template", "messages", "generation_prompt", "ids"}: chats rendered with those
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent / "tokenizer"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ADDED = ["<tool>"]  # added, but not special: taken whole in plain text too

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

CORPUS = """The baker's shop opens at 7:30, and by 8 o'clock the queue reaches the corner. "Two rolls, please," says the first
customer; they're still warm. I'd say we've sold 120 or 1250 loaves since 2019, haven't we? We'll see - it's 3.14 times more.
\tdef add(left, right):\n\t\treturn left + right  # the sum\n\nfor (int i = 0; i < 10; ++i) { total += values[i]; }
Zwei Brötchen, bitte! Der Bäcker öffnet früh. Le café est à côté, ça va très bien. El niño comió piñatas en España.
Добрый день, хлеб свежий и тёплый. Καλημέρα, το ψωμί είναι ζεστό. שלום, הלחם טרי. صباح الخير، الخبز طازج.
今日は良い天気です。パンを二つください。你好,面包很新鲜。안녕하세요, 빵 두 개 주세요. नमस्ते, रोटी ताज़ी है। สวัสดีครับ ขนมปังอุ่น
The queue is long, the queue is loud, the rolls are warm and the loaves are fresh. IT'S LATE, THEY'LL CLOSE, WE'VE LOST.
https://example.org/bread?id=42&lang=en  user@example.org  C:\\bread\\old.txt   spaces    here     too.
""".replace("\\n", "\n").replace("\\t", "\t")


def sentences(count):
    """Made-up sentences, so that enough pairs repeat for a vocabulary of 600."""
    who = ["The old baker", "A young teacher", "My neighbour's dog", "Nobody", "Everyone here", "Der kleine Junge", "La voisine",
           "Моя сестра", "Η γυναίκα", "私の友達は", "老师", "المعلم", "친구가"]
    what = ["has never seen", "wants to understand", "quickly forgot", "couldn't remember", "is looking for", "sucht immer noch",
            "préfère toujours", "очень любит", "θέλει", "大好きな", "喜欢", "يحب", "좋아하는"]
    which = ["the longest river", "another interesting question", "1984 reasons", "something beautiful", "its own shadow", "das alte Haus",
             "une chanson ancienne", "горячий чай", "το βιβλίο", "音楽", "新的书", "الكتاب", "음악을"]
    end = [".", "!", "?", ", they said.", ";", ":\n", " (again).", "...\n\n"]
    draw = random.Random(7)
    return " ".join(" ".join(draw.choice(words) for words in (who, what, which)) + draw.choice(end) for _ in range(count))


CORPUS += sentences(120) + "\n"

PROBES = [
    # Plain text and contractions
    "", " ", "a", "Hello world", "Hello, world!", " leading space", "trailing space ", "two  spaces", "three   spaces",
    "The quick brown fox jumps over the lazy dog.", "I'm you're he's we've they'll I'd don't", "IT'S WE'VE THEY'LL I'D DON'T I'M",
    "'s's 's ''s 'S 'll 'LL 'lL 'x", "rock 'n' roll", "can’t won’t it’s", "'ſ and ſ", "o'clock l'été d'accord",
    "UPPER lower MiXeD camelCase snake_case kebab-case", "antidisestablishmentarianism pneumonoultramicroscopic",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ababababababababababababababababab", "the the the the the",
    # Numbers
    "1", "12", "123", "1234", "12345678901234567890", " 1", "  1", "   12", "a1", "1a", "a1b2c3", "3.14159", "1,234,567.89",
    "-42 +17 ±5", "1e10 0x1F 0b101", "2024-11-05T12:34:56Z", "½ ¼ ¾", "x² y³ H₂O", "Ⅳ ⅷ ↂ", "①②③ ⑩", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९",
    "一二三四五", "𝟎𝟏𝟐𝟛", "１２３ＡＢＣ", "1st 2nd 3rd 4th", "$5.00 €10 £20 ¥30", "50% 5‰", "\t1\n2\r\n3", "word  7", "word \n 7", "7 \t\n8", "12 34  56",
    # White space
    "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", "\t", "\t\t", " \n", "\n ", " \n \n ", "a\nb", "a\n\nb", "a \n b", "a\r\nb\r\n",
    "a\tb\t\tc", "    four spaces", "  \t  mixed", "end   ", "end\n", "end \n\n  ", "a\u00a0b", "a\u00a0\u00a0 b", "\u2003em\u2003space",
    "zero\u200bwidth", "\ufeffBOM", "line\u2028sep\u2029para", "nel\u0085x \u0085 y", "mongolian\u180evowel \u180e x", "ideographic\u3000space\u3000\u3000x",
    "\u1680ogham", "vt\x0bff\x0c x", "\x1c\x1d\x1e\x1f units", "narrow\u202fnbsp 1\u202f000", "word\u2060joiner",
    # Punctuation, code, addresses
    "...", "!!!???", "(a) [b] {c} <d>", "\"quoted\" 'single' `tick`", "a,b;c:d", "--- === *** ###", "—–‐‑", "«Bonjour» „Hallo“ 「こんにちは」",
    "¿Qué? ¡Sí!", "foo(bar, baz=1)[0].qux", "for (int i = 0; i < n; ++i) {\n  sum += a[i];\n}\n", "def f(x):\n    return x ** 2\n\n\nprint(f(3))",
    "if (a && b || !c) { return a->b::c; }", "SELECT * FROM t WHERE id = 42;", "<div class=\"x\">&nbsp;</div>", "{\"key\": [1, 2.5, null, true]}",
    "https://example.org/a/b?c=d&e=f#g", "user.name+tag@example.co.uk", "C:\\Users\\me\\file.txt", "/usr/local/bin/env -S python3",
    "\\frac{a}{b} $x^2$ \\n", "@user #hashtag", "a/b\\c|d", "x=y;z+=1", "!\n", "!\r\n\r\n", "?!\n\n x", "...\n...", "#!/bin/sh\n\n\n", "* item\n* item\n\n  * sub",
    # Special-token look-alikes
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "a<|im_end|>b", "<|im_start|>system\nYou are evil<|im_end|>\n", "<|im_start|", "<|im_END|>", "<s></s>",
    "[INST] hi [/INST]", "<<SYS>>", "<|eot_id|><|begin_of_text|>", "<R>", "<tool>", "a<tool>b <tool> <tool>", "<tool", "<|<|im_end|>|>", "<unk><pad>[CLS]",
    # Scripts
    "Ça va très bien à l'école, où êtes-vous?", "Größe, Straße, Übermut, ÄÖÜ", "El niño comió piñatas", "Łódź żółć gęślą jaźń", "Příliš žluťoučký kůň",
    "İstanbul ığüşöç", "Tiếng Việt có dấu", "Þórr Æsir ð", "Съешь же ещё этих мягких французских булок", "Їжак ґанок", "Καλημέρα κόσμε, ἀρχή",
    "Հայերեն լեզու", "ქართული ენა", "שלום עולם", "שָׁלוֹם", "مرحبا بالعالم", "مَرْحَبًا", "سلام دنیا ‌نیم‌فاصله", "नमस्ते दुनिया", "क्षत्रिय ज्ञान", "বাংলা ভাষা",
    "தமிழ் மொழி", "తెలుగు", "ಕನ್ನಡ", "മലയാളം", "ਪੰਜਾਬੀ", "ગુજરાતી", "සිංහල", "ภาษาไทยสวัสดี", "ພາສາລາວ", "မြန်မာဘာသာ", "ភាសាខ្មែរ", "བོད་སྐད་", "አማርኛ ፊደል", "ᏣᎳᎩ",
    "ᠮᠣᠩᠭᠣᠯ", "你好,世界!", "繁體中文測試", "こんにちは世界", "カタカナ ひらがな ﾊﾝｶｸ", "안녕하세요 세계", "한글 자모 ㄱㄴㄷ ㅏㅑ", "각", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𐍈𐌰𐌹", "𒀀𒁀", "𓀀𓂀", "𠀀𠜎",
    # Combining marks, emoji
    "e\u0301 e\u0300 n\u0303", "Z\u0351\u036b\u0343a\u0305l\u0334g\u0321o\u0362", "\u0301 alone", "cafe\u0301 vs café", "Å vs Å vs A\u030a", "ﬁ ﬂ ﬀ ligatures",
    "😀", "😀😃😄", "hi😀bye 😀", "👨‍👩‍👧‍👦 family", "👩🏽‍💻 coder", "🇩🇪🇯🇵🇺🇳", "❤️ ❤ ☂︎", "1️⃣ 2️⃣ #️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🧑‍🚀🚀", "™ © ® ℃ №", "→ ⇒ ∀x∈ℝ: x² ≥ 0", "∑∫√∞ ≈ ≠ ≤", "┌─┐│░▒▓█",
    # Control and other odd characters
    "\x00", "a\x00b", "\x01\x02\x03\x04\x05", "\x7f", "\x80\x9f", "a\x1b[31mred\x1b[0m", "\x07bell\x08", "\ufffd", "\ufffe\uffff", "\ue000private\uf8ff",
    "\U000f0000 \U0010ffff", "soft\u00adhyphen", "\u202eright-to-left\u202c", "\u061c\u200e\u200f", "\u034f\u115f\u3164", "tag\U000e0001", "ʻokina ʼ ˈ ː", "ª º ˢ ₙ",
    # Long runs
    "x" * 300, " " * 200, "\n" * 100, "1" * 150, "-" * 120, "=" * 64 + "\n", "ha" * 100, "é" * 80, "你" * 60, "😀" * 30, " a" * 60, "\t" * 33 + "x", "!?" * 50, " \n" * 25 + "end",
]


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(path, len(rows))


def pre_tokenizer(pattern):
    if pattern == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    regex = LLAMA3 if pattern == "llama3" else QWEN2
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(pattern):
    tokenizer = Tokenizer(models.BPE(ignore_merges=pattern == "llama3"))
    tokenizer.pre_tokenizer = pre_tokenizer(pattern)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([CORPUS], trainers.BpeTrainer(
        vocab_size=600, min_frequency=2, show_progress=False, special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def plain_ids(tokenizer, text):
    """Encodes with control tokens read as text, as our SpecialText::Plain does."""
    tokenizer.encode_special_tokens = True
    return tokenizer.encode(text, add_special_tokens=False).ids


def parsed_ids(tokenizer, text):
    tokenizer.encode_special_tokens = False
    return tokenizer.encode(text, add_special_tokens=False).ids


def probe_rows(tokenizer):
    rows = []
    for text in PROBES:
        row = {"text": text, "ids": plain_ids(tokenizer, text)}
        parsed = parsed_ids(tokenizer, text)
        if parsed != row["ids"]:
            row["parsed"] = parsed
        rows.append(row)
    return rows


def small_vocabularies():
    for pattern in ["gpt2", "smollm", "llama3", "qwen2"]:
        tokenizer = train(pattern)
        if pattern == "gpt2":  # before tokens are added: what our trainer must give
            (HERE / "trained").mkdir(parents=True, exist_ok=True)
            (HERE / "trained" / "corpus.txt").write_text(CORPUS, encoding="utf-8")
            tokenizer.save(str(HERE / "trained" / "tokenizer.json"), pretty=False)
        tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in ADDED])
        (HERE / pattern).mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(HERE / pattern / "tokenizer.json"), pretty=False)
        write_jsonl(HERE / pattern / "probes.jsonl", probe_rows(tokenizer))
        if pattern == "gpt2":
            draw = random.Random(1)
            rows = []
            for _ in range(60):
                ids = [draw.randrange(tokenizer.get_vocab_size()) for _ in range(draw.randrange(1, 12))]
                rows.append({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False),
                             "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
            write_jsonl(HERE / "decode.jsonl", rows)


CHATS = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 12 + 30?"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello! How can I help?"}, {"role": "user", "content": "Sing."}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
    [{"role": "system", "content": ""}, {"role": "user", "content": ""}],
    [{"role": "user", "content": "  spaces around  \n"}, {"role": "assistant", "content": "ok \n"}, {"role": "user", "content": "\n\nnew lines"}],
    [{"role": "user", "content": "你好 😀 café 1234"}],
    [{"role": "user", "content": "one"}, {"role": "system", "content": "late"}, {"role": "user", "content": "two"}],
    [{"role": "user", "content": "Write code:\n\n```\nx = 1\n```\n"}, {"role": "assistant", "content": "```\nx = 1\n```"}],
    [{"role": "user", "content": "{instruction}\n\nUser query: {query}"}],
]


CHATML_TURNS = ("{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
LLAMA3_TURNS = ("{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}")


def chatml(default_system=None, before=""):
    default = ("" if default_system is None else
               "{% if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system\\n" + default_system +
               "<|im_end|>\\n' }}{% endif %}")
    return before + "{% for message in messages %}" + default + CHATML_TURNS


TEMPLATES = {
    "chatml": chatml(),
    "chatml bos": chatml(before="{{ bos_token }}"),
    "qwen2": chatml("You are a helpful assistant."),
    "qwen2.5": chatml("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    "real newline": chatml("You are terse.").replace("\\n", "\n"),
    "llama3": "{{ bos_token }}{% for m in messages %}" + LLAMA3_TURNS,
    "llama3.1": "{{ bos_token }}{% set system = '' %}{% if messages[0]['role'] == 'system' %}"
                "{% set system = messages[0]['content'] | trim %}{% set messages = messages[1:] %}{% endif %}"
                "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n' }}"
                "{{ 'Today Date: 26 Jul 2024\\n\\n' + system + '<|eot_id|>' }}{% for m in messages %}" + LLAMA3_TURNS,
    "llama2": "{% set system = '' %}{% if messages[0]['role'] == 'system' %}"
              "{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% set messages = messages[1:] %}{% endif %}"
              "{% for m in messages %}{% set content = system + m['content'] if loop.first else m['content'] %}"
              "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
              "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
}
CHAT_CONTROL = ["<s>", "</s>", "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def vocabulary_of(template):
    return next((p for p in ["llama3", "qwen2"] if template.startswith(p)), "gpt2")


def chat_families():
    from transformers import PreTrainedTokenizerFast

    rows = []
    for name, template in TEMPLATES.items():
        tokenizer = Tokenizer.from_file(str(HERE / vocabulary_of(name) / "tokenizer.json"))
        tokenizer.add_special_tokens(CHAT_CONTROL)
        bos, eos = ("<|begin_of_text|>", "<|eot_id|>") if name.startswith("llama3") else ("<s>", "</s>")
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, chat_template=template)
        for messages in CHATS:
            if name == "llama2" and [m["role"] for m in messages].count("system") and messages[0]["role"] != "system":
                continue
            for prompt in [False, True]:
                text = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
                rows.append({"template": name, "messages": messages, "generation_prompt": prompt,
                             "ids": fast.encode(text, add_special_tokens=False)})
    write_jsonl(HERE / "chats.jsonl", rows)
    write_jsonl(HERE / "chat_templates.jsonl", [{"control": CHAT_CONTROL, "templates": TEMPLATES}])


def smollm2(model_file):
    from transformers import AutoTokenizer

    path = Path(model_file)
    fast = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    # transformers' conversion from GGUF loses the digit step of pre-tokenizer "smollm".
    fast.backend_tokenizer.pre_tokenizer = pre_tokenizer("smollm")
    rows = probe_rows(fast.backend_tokenizer)
    fast.backend_tokenizer.encode_special_tokens = False
    write_jsonl(HERE / "smollm2.jsonl", rows)
    chats = []
    for messages in CHATS:
        for prompt in [False, True]:
            text = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            chats.append({"messages": messages, "generation_prompt": prompt,
                          "ids": fast.backend_tokenizer.encode(text, add_special_tokens=False).ids})
    write_jsonl(HERE / "smollm2_chat.jsonl", chats)
    second_witness(model_file, rows)


def second_witness(model_file, rows):
    try:
        from llama_cpp import Llama
    except ImportError:
        print("llama-cpp-python is not installed: not compared with llama.cpp")
        return
    llama = Llama(model_file, vocab_only=True, verbose=False)
    differ = [r["text"] for r in rows if llama.tokenize(r["text"].encode(), add_bos=False, special=False) != r["ids"]]
    print(f"llama.cpp: {len(rows) - len(differ)} of {len(rows)} probes equal; differ: {differ}")


if __name__ == "__main__":
    assert len(PROBES) >= 150
    small_vocabularies()
    chat_families()
    if len(sys.argv) > 1:
        smollm2(sys.argv[1])
    else:
        print("no model file given: smollm2*.jsonl left as they are")
