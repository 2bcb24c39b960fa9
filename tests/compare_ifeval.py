#!/usr/bin/env python3
"""Compares the rule judge's 25 IFEval instruction types with PyPI's if-verifiable, strict and loose, on made-up cases.

    pip install if-verifiable                      (brings nltk and langdetect)
    pip install --no-deps llama-index-core         (only for NLTK's punkt_tab data, which it carries; or nltk.download)
    python tests/compare_ifeval.py build/thinker [--cases 100]

Makes --cases cases of each type, met, missed and borderline ones, runs `thinker judge` and the reference on them, prints
agreement by type and exits with 1 where a difference is not one of these, each of which is verified case by case:

  detector   language:response_language, change_case:english_*: the reference asks langdetect, Thinker asks CLD2. Allowed
             where Thinker says what the text was made as. langdetect takes "i love dogs and cats." for Catalan.
  undecided  the same types, where CLD2 does not call its answer reliable. Thinker then leaves the instruction out; the
             reference takes langdetect's best guess. Counted in a column of its own, not as agreement.
  tables     length_constraints:number_sentences: NLTK's Punkt has tables trained on newspapers (20,000 words), Thinker
             has short lists. Allowed where Punkt with Thinker's lists in place of its tables gives Thinker's answer.
  marks      length_constraints:number_words: a combining mark (Devanagari vowels, say) ends a word in Python's own `re`, as
             in IFEval's program when it was published; NLTK since 3.10 uses the `regex` package, where it does not.
             Allowed where `re` gives Thinker's answer.

Not compared, because the reference has no definite answer: arguments that are missing and would be drawn at random
(Thinker refuses the line), a "letter" outside a-z (also drawn at random; Thinker counts that character).
"""

import argparse
import collections
import copy
import importlib.metadata
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LANGUAGE_TYPES = {"language:response_language", "change_case:english_capital", "change_case:english_lowercase"}

ENGLISH = [
    "The river was high after the rain.", "She asked: who will come tomorrow?", "Well, that is not what I meant!",
    "In 1999 the town had 3,500 people.", "Dr. Smith paid $4.50 for tea at 5 p.m. and left.", "Mr. and Mrs. Jones agreed.",
    "It costs 3.50 euros, e.g. for a coffee.", "I think so... Maybe not.", "\"Stop!\" he cried. \"Why?\"", "We met J. R. Tolkien.",
    "Use version 2.0. It is faster.", "The U.S. economy grew. The U.K. did not.", "Yes.", "No way?!", "This is well-known (see above).",
    "He works at Acme Inc. in Boston.", "List of fruit: apples, pears; plums.", "I can't believe it's over.", "Don't stop now.",
    "My favourite letters are A, B and C.", "See section 1. of the book.", "The end... or is it?", "Café and naïve are words.",
    "They said “hello.” Then they left.", "Is it 10:30? I forgot.", "Prof. Lee teaches in St. Louis.", "It was vol. 3 of the set.",
    "Wait... what happened? Nothing, really.", "Apples etc. are fruit.", "Call me at 555-1234.", "Send mail to a.b@example.com today.",
    "He lived in Washington, D.C. for years.", "She is from N.Y. The city is big.", "John F. Kennedy spoke. People listened.",
    "Go to www.example.org. You will see.", "(This stands in parentheses.) And this does not.", "One sentence without an end",
]
OTHERS = {
    "de": ["Das Wetter ist heute schön und wir gehen mit den Kindern in den Park.", "Ich habe gestern ein gutes Buch über Geschichte gelesen."],
    "fr": ["Le temps est agréable aujourd'hui et nous allons au parc avec les enfants.", "J'ai lu hier un très bon livre sur l'histoire de la ville."],
    "es": ["El tiempo es agradable hoy y vamos al parque con nuestros hijos.", "Ayer leí un libro muy bueno sobre la historia de la ciudad."],
    "pt": ["O tempo está agradável hoje e vamos ao parque com nossos filhos.", "Ontem li um livro muito bom sobre a história da cidade."],
    "it": ["Oggi il tempo è bello e andiamo al parco con i nostri bambini.", "Ieri ho letto un libro molto bello sulla storia della città."],
    "ru": ["Сегодня хорошая погода, и мы идём в парк с детьми.", "Вчера я прочитал хорошую книгу об истории города."],
    "ja": ["今日は天気がいいので、子供たちと公園に行きます。", "昨日、町の歴史についての本を読みました。"],
    "ko": ["오늘은 날씨가 좋아서 아이들과 공원에 갑니다.", "어제 도시의 역사에 관한 좋은 책을 읽었습니다."],
    "hi": ["मौसम आज अच्छा है और हम अपने बच्चों के साथ पार्क जा रहे हैं।"], "ar": ["الطقس جميل اليوم ونحن ذاهبون إلى الحديقة مع أطفالنا."],
    "bn": ["আজ আবহাওয়া সুন্দর এবং আমরা আমাদের সন্তানদের সাথে পার্কে যাচ্ছি।"], "th": ["วันนี้อากาศดีและเราจะไปสวนสาธารณะกับลูก ๆ ของเรา"],
    "fi": ["Sää on tänään kaunis ja menemme puistoon lastemme kanssa."], "pl": ["Dzisiaj jest ładna pogoda i idziemy z dziećmi do parku."],
    "sw": ["Hali ya hewa ni nzuri leo na tunakwenda kwenye bustani na watoto wetu."], "he": ["מזג האוויר נעים היום ואנחנו הולכים לפארק עם הילדים שלנו."],
    "vi": ["Hôm nay thời tiết đẹp và chúng tôi đi công viên với các con."], "ta": ["இன்று வானிலை நன்றாக உள்ளது, நாங்கள் குழந்தைகளுடன் பூங்காவிற்கு செல்கிறோம்."],
    "te": ["ఈ రోజు వాతావరణం బాగుంది మరియు మేము మా పిల్లలతో పార్కుకు వెళ్తున్నాము."], "kn": ["ಇಂದು ಹವಾಮಾನ ಚೆನ್ನಾಗಿದೆ ಮತ್ತು ನಾವು ನಮ್ಮ ಮಕ್ಕಳೊಂದಿಗೆ ಉದ್ಯಾನವನಕ್ಕೆ ಹೋಗುತ್ತಿದ್ದೇವೆ."],
    "mr": ["आज हवामान छान आहे आणि आम्ही आमच्या मुलांसोबत उद्यानात जात आहोत."], "ne": ["आज मौसम राम्रो छ र हामी हाम्रा बच्चाहरूसँग पार्क जाँदैछौं।"],
    "fa": ["هوا امروز خوب است و ما با فرزندانمان به پارک می رویم."], "ur": ["آج موسم اچھا ہے اور ہم اپنے بچوں کے ساتھ پارک جا رہے ہیں۔"],
    "uk": ["Сьогодні гарна погода, і ми йдемо з дітьми до парку."], "bg": ["Днес времето е хубаво и ние отиваме в парка с децата си."],
    "gu": ["આજે હવામાન સારું છે અને અમે અમારા બાળકો સાથે પાર્કમાં જઈ રહ્યા છીએ."], "pa": ["ਅੱਜ ਮੌਸਮ ਚੰਗਾ ਹੈ ਅਤੇ ਅਸੀਂ ਆਪਣੇ ਬੱਚਿਆਂ ਨਾਲ ਪਾਰਕ ਜਾ ਰਹੇ ਹਾਂ।"],
    "ml": ["ഇന്ന് കാലാവസ്ഥ നല്ലതാണ്, ഞങ്ങൾ കുട്ടികളോടൊപ്പം പാർക്കിൽ പോകുന്നു."],
}
ODD = ["", "\n", "   ", "***", "* * *", "**", "*", "- ", "[ ]", "[]", "<<>>", "\"", "\"\"", "...", "!", "12345", "😀 👍🏽", "\u00a0", "e\u0301", "straße",
       "ΟΔΟΣ ΑΒΓ", "ǅungla", "İstanbul", "½ ² Ⅷ ₃", "١٢٣", "a\tb", "snake_case x1", "\u3000全角　スペース", "“quoted”", "# Title", "---", "1. one", "2) two",
       "P.S. Bye", "p.s. bye", "P.P.S. Bye", "Section 1", "SECTION 2", "NASA and the U.S.A. AGREE", "A-B TEST CAN'T FAIL", "I AM HERE, CANNOT STAY", "```", "{}", ","]


class Maker:
    """Texts at random, the same for each run."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *options):
        return self.r.choice(options)

    def sentences(self, low=1, high=6):
        return " ".join(self.r.choice(ENGLISH) for _ in range(self.r.randint(low, high)))

    def piece(self):
        roll = self.r.random()
        if roll < 0.6:
            return self.sentences(1, 3)
        return self.r.choice(ODD) if roll < 0.85 else self.r.choice(self.r.choice(list(OTHERS.values())))

    def text(self, low=1, high=5):
        out = self.piece()
        for _ in range(self.r.randint(low, high) - 1):
            out += self.pick(" ", "\n", "\n\n", "\n\n", "\n \n", "\n\n\n") + self.piece()
        return out

    def dressed(self, text):
        """What models do to an answer: a line before, a line after, bold, quotes."""
        if self.r.random() < 0.3:
            text = self.pick("Sure! Here it is:", "**Answer**", "Of course, here you go.", "* ok") + self.pick("\n", "\n\n") + text
        if self.r.random() < 0.3:
            text += self.pick("\n", "\n\n") + self.pick("I hope this helps!", "Let me know, please.", "**The end.**", "*")
        if self.r.random() < 0.15:
            text = self.pick("*%s*", "**%s**", '"%s"', " %s ") % text
        return text


def relation(m):
    return m.pick("at least", "less than")


def language_text(m):
    """(text, the language it is in)"""
    code = m.pick("en", m.r.choice(list(OTHERS)))
    if code == "en":
        return m.pick(m.sentences(2, 5), m.sentences(1, 2), m.sentences(1, 1), m.pick("Yes.", "ok", "Hello world", "i love dogs and cats.", "NASA 2024")), code
    text = " ".join(m.r.choice(OTHERS[code]) for _ in range(m.r.randint(1, 3)))
    return text, code


def make_case(kind, m):
    """(kwargs, response, the language it was made in, or None)"""
    n = m.r.randint(0, 5)
    language = None
    if kind == "keywords:existence":
        kwargs = {"keywords": m.r.sample(["river", "Café", "the", "ss", "u.s", "letters?", "ΟΔΟΣ", "10:30", "stra(ss|ß)e", "k"], m.r.randint(1, 3))}
        text = m.text() + m.pick("", " ", "\n") + m.pick("", *[k.upper() for k in kwargs["keywords"]])
    elif kind == "keywords:frequency":
        kwargs = {"keyword": m.pick("the", " is", "a", "é", "U.S", "to"), "frequency": n + 1, "relation": relation(m)}
        text = m.text(1, 4)
    elif kind == "keywords:forbidden_words":
        kwargs = {"forbidden_words": m.r.sample(["the", "river", "well", "naïve", "so", "can", "is", "snake", "a", "公園", "left"], m.r.randint(1, 3))}
        text = m.text(1, 3)
    elif kind == "keywords:letter_frequency":
        kwargs = {"letter": m.pick(*"aeioqzKTS"), "let_frequency": m.pick(0, 1, 2, 3, 8, 12), "let_relation": relation(m)}
        text = m.text(1, 3)
    elif kind == "language:response_language":
        text, language = language_text(m)
        kwargs = {"language": m.pick(language, language, "en", "de", "ko")}
        if m.r.random() < 0.1:
            text, language = m.pick("12345", "!!! ???", "😀", "3.50 + 4"), ""
        return kwargs, text if m.r.random() < 0.7 else m.pick("Sure! Here it is:\n", "**1.**\n") + text, language
    elif kind == "length_constraints:number_sentences":
        kwargs = {"num_sentences": m.r.randint(1, 9), "relation": relation(m)}
        text = m.text(1, 3)
    elif kind == "length_constraints:number_paragraphs":
        kwargs = {"num_paragraphs": m.r.randint(1, 4)}
        count = max(0, kwargs["num_paragraphs"] + m.pick(0, 0, 0, 1, -1))
        text = m.pick("", "", "***\n") + m.pick("\n***\n", "\n\n***\n\n", "***", "\n* * *\n", "\n****\n").join(m.piece() for _ in range(count)) + m.pick("", "", "\n***")
    elif kind == "length_constraints:number_words":
        text = m.text(1, 4)
        kwargs = {"num_words": max(0, len(re.findall(r"\w+", text)) + m.pick(-3, -1, 0, 0, 1, 3)), "relation": relation(m)}
    elif kind == "length_constraints:nth_paragraph_first_word":
        total = m.r.randint(1, 4)
        kwargs = {"num_paragraphs": total, "nth_paragraph": m.r.randint(1, total), "first_word": m.pick("the", "Dear", "well", "élan", "i'm")}
        pieces = [m.sentences(1, 2) for _ in range(max(1, total + m.pick(0, 0, 0, 1)))]
        at = min(kwargs["nth_paragraph"], len(pieces)) - 1
        word = kwargs["first_word"]
        pieces[at] = m.pick(word, word.upper(), word.title() + ",", "'" + word, '"' + word + '!"') + " " + pieces[at] if m.r.random() < 0.6 else m.pick("The", "the,", "\"Dear", "'Well", "'\"well", "Élan", "élan.", "I'm", "*The*", " the", "well!", "Dearest") + " " + pieces[at]
        text = m.pick("\n\n", "\n\n", "\n\n", "\n\n", "\n\n\n", "\n\n\n\n").join(pieces)
        if m.r.random() < 0.6:
            return kwargs, text, None
    elif kind == "detectable_content:number_placeholders":
        kwargs = {"num_placeholders": n}
        text = m.text(1, 3) + "".join(m.pick(" [name]", "\n[a\nb]", "[[x]]", " []", "[city], [zip]") for _ in range(n))
    elif kind == "detectable_content:postscript":
        kwargs = {"postscript_marker": m.pick("P.S.", "P.P.S", "P.S.", "Note:", " P.S. ")}
        text = m.text(1, 3) + m.pick("\n", " ", "\n\n  ") + m.pick("P.S. Bye", "p.s. bye", "P. S. Bye", "PS bye", "P.P.S. Bye", "P. P. S bye", "note: x", "P.P. Bye", "P.S")
    elif kind == "detectable_format:number_bullet_lists":
        kwargs = {"num_bullets": n}
        bullets = [m.pick("* a", "- b", "  * c d", "-e", "*f*", "**g** h", "*\n", "---", "* ", "• i") for _ in range(n + m.pick(0, 0, 0, 1, -1))]
        text = m.pick("", m.sentences(1, 2) + "\n") + "\n".join(bullets) + m.pick("", "\nThe end.")
    elif kind == "detectable_format:constrained_response":
        kwargs = {}
        text = m.pick("", "Well. ", "*") + m.pick("My answer is yes.", "My answer is no.", "My answer is maybe.", "My answer is yes", "my answer is no.", "My *answer* is no.") + m.pick("", " So.", "\n")
    elif kind == "detectable_format:number_highlighted_sections":
        kwargs = {"num_highlights": n}
        text = " ".join(m.pick("*a*", "**b c**", "***d***", "* *", "*e\nf*", "****", "plain", "*g", m.sentences(1, 1)) for _ in range(n + 2))
    elif kind == "detectable_format:multiple_sections":
        kwargs = {"section_spliter": m.pick("Section", "SECTION", "Day", "PARAGRAPH ", "Audience Q."), "num_sections": n}
        word = kwargs["section_spliter"].strip()
        text = "\n".join(f"{m.pick('', '## ', '**')}{m.pick(word, word, word.upper())}{m.pick(' ', ' ', '', '  ')}{m.pick(str(i + 1), str(i + 1), 'X', '٣')}\n{m.piece()}" for i in range(n + m.pick(0, 0, -1, 1)))
    elif kind == "detectable_format:json_format":
        kwargs = {}
        text = m.pick('{"a": 1}', '{"name": "Ada", "list": [1, 2, {"b": null}]}', '[true, false]', '{"a": [1, 2.5e3, -0, "x\\u00e9\\n"]}', "[]", "{a: 1}", "{'a': 1}", '{"a": NaN, "b": -Infinity}', '{"a": 1,}', '"only text"', "12", "012", "[1 2]", "null", "True",
                      '{"a": "line\nbreak"}', '{"é": "日本"}', '{"a": {"b": [[[]]]}, "a": 1e999}', "[1, 2", '{"a": "\\x"}', '{"a": "\\ud800"}', "\ufeff{}", "nope")
        text = m.pick("%s", "%s", "```json\n%s\n```", "```\n%s\n```", "```JSON %s```", "```json\n%s", "Here:\n```json\n%s\n```", "```json\n```json%s\n```") % text
        if m.r.random() < 0.6:
            return kwargs, text, None
    elif kind == "detectable_format:title":
        kwargs = {}
        text = m.pick("", m.piece() + "\n") + m.pick("<<The Sea>>", "<< >>", "<<>>", "<The Sea>", "<<a\nb>>", "<<<x>>>", "<<*>>", "<<a>> and <<b>>", "<< > >>") + m.pick("", "\n" + m.piece())
    elif kind == "combination:two_responses":
        kwargs = {}
        text = m.pick("", "", "******\n") + m.pick("******", "\n******\n", "*****", " ****** \n******", "*******").join(m.pick("A.", "B.", "A. ", m.piece()) for _ in range(m.pick(1, 2, 2, 2, 3))) + m.pick("", "", "\n******")
    elif kind == "combination:repeat_prompt":
        kwargs = {"prompt_to_repeat": m.pick("Write a poem about ÉTÉ.", " Write  two lines.\n", "Say \"hi\" to ΟΔΟΣ", "a*b")}
        prompt = kwargs["prompt_to_repeat"]
        text = m.pick("", "", "Sure.\n", "*") + m.pick(prompt, prompt.upper(), prompt.strip().lower(), prompt.strip()[:-1]) + m.pick("", "\n\n") + m.piece()
    elif kind == "startend:end_checker":
        kwargs = {"end_phrase": m.pick("Any other questions?", " The end. ", "ÉTÉ", "Is there anything else?")}
        phrase = kwargs["end_phrase"].strip()
        text = m.text(1, 2) + m.pick(" ", "\n") + m.pick(phrase, phrase.upper(), phrase + '"', '"' + phrase + '"', phrase + "!", phrase + "*", phrase[:-1], phrase + "\nBye")
    elif kind == "startend:quotation":
        kwargs = {}
        text = m.pick('"%s"', '"%s"', "%s", '"%s', "“%s”", ' "%s" ', '"%s".', "*\"%s\"*") % m.piece()
    elif kind == "change_case:capital_word_frequency":
        kwargs = {"capital_frequency": m.r.randint(0, 12), "capital_relation": relation(m)}
        odd = ["DON'T", "IT'S", "It's", "NASA,", "U.S.A.", "(VERY)", "A-B", "AT&T", "I", "CANNOT", "GONNA", "\"WOW\"", "ÉTÉ", "X1", "12", "ROCK'N'ROLL", "THEY'LL", "WE'RE",
               "'TWAS", "HELLO/WORLD", "A:B", "A,B", "3,500", "10:30PM", "YES...NO", "WELL--OK", "#TAG", "**BOLD**", "DOGS'", "GOTTA", "D'YE", "MORE'N", "SHE'D", "He'S", "'M", "O'S", "N'T", "CANNOTS", "ΟΔΟΣ", "İ", "ǅ", "Mc", "“QUOTED”", "can’T", "CAN’T", "O'CLOCK", "WANNA GO", "<<TITLE>>", "LEMME"]
        text = " ".join(m.pick(m.r.choice(odd), m.r.choice(odd), m.r.choice(ENGLISH), m.r.choice(ENGLISH).upper(), "\n") for _ in range(m.r.randint(1, 7)))
    elif kind in ("change_case:english_capital", "change_case:english_lowercase"):
        kwargs = {}
        text, language = language_text(m)
        case = str.upper if kind.endswith("capital") else str.lower
        text = m.pick(case, case, case, str.title)(text)
        if m.r.random() < 0.1:
            text, language = m.pick("12345", "!!!"), ""
        return kwargs, text if m.r.random() < 0.7 else m.pick("Sure! Here it is:\n", "**1.**\n") + text, language
    elif kind == "punctuation:no_comma":
        kwargs = {}
        text = m.text(1, 3).replace(",", m.pick("", "", ",", "，", "、"))
        text = m.pick("", "Sure, here:\n") + text
    else:
        raise KeyError(kind)
    return kwargs, m.dressed(text), language


def lists_of_thinker():
    source = (Path(__file__).parent.parent / "tpo/judges/ifeval_sentences.cpp").read_text()
    arrays = re.findall(r"known = \{(.*?)\};", source, re.S)
    return [set(re.findall(r'"([^"]+)"', array)) for array in arrays]


def punkt_with_thinkers_lists():
    """NLTK's Punkt with Thinker's abbreviations and sentence starters in place of its trained tables."""
    from nltk.tokenize import punkt
    tokenizer = punkt.PunktTokenizer("english")
    params = punkt.PunktParameters()
    params.abbrev_types, params.sent_starters = lists_of_thinker()
    for word in params.sent_starters:  # seen in lower case, and capitalised within a sentence: no evidence by itself
        params.ortho_context[word] = punkt._ORTHO_LC | punkt._ORTHO_MID_UC
    tokenizer._params = params
    return tokenizer


def find_punkt_data():
    import nltk
    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
        return
    except LookupError:
        pass
    try:
        files = importlib.metadata.files("llama-index-core") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith("punkt_tab/english/abbrev_types.txt"):
            nltk.data.path.append(str(Path(file.locate()).parents[3]))
            return
    sys.exit("NLTK's punkt_tab is missing: pip install --no-deps llama-index-core, or nltk.download('punkt_tab')")


def reference_results(cases):
    """(strict, loose) of each case; the detector begins each case from the same seed."""
    import langdetect
    import logging
    from if_verifiable import common
    from if_verifiable.ifeval import INSTRUCTION_DICT
    logging.disable(logging.ERROR)
    langdetect.DetectorFactory.seed = 0
    results = []
    for case in cases:
        kwargs = [dict.fromkeys(["num_words", "keywords"]) | case["kwargs"]]  # null arguments, as in the published data
        got, _ = common.evaluate_instructions(case["response"], [case["type"]], kwargs, "", INSTRUCTION_DICT)
        results.append((got[0].strict_pass, got[0].loose_pass) if got else (False, False))
    return sorted(INSTRUCTION_DICT), results


def thinker_results(program, cases):
    """(strict, loose) of each case, None for undecided."""
    with tempfile.TemporaryDirectory() as folder:
        prompts, samples, out = (os.path.join(folder, n) for n in ("prompts.jsonl", "samples.jsonl", "judgments.jsonl"))
        with open(prompts, "w") as p, open(samples, "w") as s:
            for i, case in enumerate(cases):
                p.write(json.dumps({"key": i, "prompt": "Do it.", "instruction_id_list": [case["type"]],
                                    "kwargs": [dict.fromkeys(["num_words", "keywords"]) | case["kwargs"]]}) + "\n")
                s.write(json.dumps({"id": i, "sample": 0, "prompt_ids": [], "ids": [], "logprobs": [], "text": case["response"], "thought": None,
                                    "response": case["response"], "parse": "ok", "stop": "end"}) + "\n")
        run = subprocess.run([program, "judge", "--samples", samples, "--judge", "rule", "--out", out], capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"thinker judge failed: {run.stderr}")
        print(run.stderr.strip())
        results = []
        for line in open(out):
            judgment = json.loads(line)
            answer = judgment.get("answer") or judgment.get("error", "")
            strict = None if "undecided: " in answer else "not met" not in answer
            loose = True if strict or "(loosely met)" in answer else None if strict is None or "(loosely undecided)" in answer else False
            results.append((strict, loose))
        return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--cases", type=int, default=100, help="of each type")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=5, help="differences to print of each type")
    options = parser.parse_args()
    find_punkt_data()
    from if_verifiable.ifeval import INSTRUCTION_DICT
    cases = []
    for kind in sorted(INSTRUCTION_DICT):
        m = Maker(f"{options.seed} {kind}")
        count = 0
        while count < options.cases:
            kwargs, response, language = make_case(kind, m)
            if not response.strip(" \t\r\n\v\f"):
                continue  # nothing to judge: an output without a response never reaches a judge
            cases.append({"type": kind, "kwargs": kwargs, "response": response, "language": language})
            count += 1
    kinds, reference = reference_results(cases)
    ours = thinker_results(options.program, cases)
    assert len(kinds) == 25 and len(ours) == len(cases) == len(reference)
    punkt = punkt_with_thinkers_lists()

    def loosely(case, test):
        from if_verifiable.common import get_loose_transformations, strip_thinking
        return any(v.strip() and test(v) for v in get_loose_transformations(strip_thinking(case["response"])))

    def known(case, mode, value):
        if case["type"] in LANGUAGE_TYPES and case["language"] is not None:
            if case["type"].endswith("capital"):
                truth = lambda v: v.isupper() and case["language"] == "en"
            elif case["type"].endswith("lowercase"):
                truth = lambda v: v.islower() and case["language"] == "en"
            else:
                truth = lambda v: case["kwargs"]["language"] == case["language"]
        elif case["type"] == "length_constraints:number_sentences":
            n, at_least = case["kwargs"]["num_sentences"], case["kwargs"]["relation"] == "at least"
            truth = lambda v: (len(punkt.tokenize(v)) >= n) == at_least
        elif case["type"] == "length_constraints:number_words":
            n, at_least = case["kwargs"]["num_words"], case["kwargs"]["relation"] == "at least"
            truth = lambda v: (len(re.findall(r"\w+", v)) >= n) == at_least
        else:
            return False
        return value == (truth(case["response"].strip()) if mode == 0 else loosely(case, truth))

    table = collections.defaultdict(lambda: [[0, 0, 0, 0], [0, 0, 0, 0], 0])  # per mode: agree, undecided, known, bad
    for case, theirs, mine in zip(cases, reference, ours):
        row = table[case["type"]]
        row[2] += theirs[0]
        for mode in (0, 1):
            if mine[mode] is None:
                row[mode][1] += 1
            elif mine[mode] == theirs[mode]:
                row[mode][0] += 1
            elif known(case, mode, mine[mode]):
                row[mode][2] += 1
            else:
                row[mode][3] += 1
                if row[mode][3] <= options.show:
                    print(f"DIFFERS {case['type']} {('strict', 'loose')[mode]}: reference {theirs[mode]}, Thinker {mine[mode]}\n"
                          f"  {json.dumps(case['kwargs'], ensure_ascii=False)} {json.dumps(case['response'], ensure_ascii=False)}")
    print(f"{'type':48} {'cases':>5} {'met':>4} | {'strict':>6} {'undec':>5} {'known':>5} {'bad':>4} | {'loose':>6} {'undec':>5} {'known':>5} {'bad':>4}")
    total = [[0] * 4, [0] * 4]
    for kind, (strict, loose, met) in sorted(table.items()):
        print(f"{kind:48} {sum(strict):5} {met:4} | {strict[0]:6} {strict[1]:5} {strict[2]:5} {strict[3]:4} | {loose[0]:6} {loose[1]:5} {loose[2]:5} {loose[3]:4}")
        for mode, row in enumerate((strict, loose)):
            total[mode] = [a + b for a, b in zip(total[mode], row)]
    for name, row in zip(("strict", "loose"), total):
        print(f"{name}: {row[0]} of {sum(row)} agree, {row[1]} undecided, {row[2]} known differences, {row[3]} others")
    lopsided = [k for k, row in table.items() if not 0 < row[2] < sum(row[0])]
    if lopsided:
        print("no case met, or none missed:", ", ".join(lopsided))
    sys.exit(1 if total[0][3] or total[1][3] or lopsided else 0)


if __name__ == "__main__":
    main()
