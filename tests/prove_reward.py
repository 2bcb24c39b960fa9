"""Shows that `thinker reward` learns a known rule, and that the rule and not the words is learned: pairs of answers of which
the better one names an animal and the other a thing. Training and held-out pairs share no prompt, no animal and no thing.

    python tests/prove_reward.py build/thinker models/SmolLM2-135M-Instruct.Q4_1.gguf [--pairs 240] [--out FOLDER]

Prints thinker's report on the held-out pairs; fails (exit 1) where less than 95 % of them are ranked rightly. Needs no package.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

ANIMALS = """dog cat horse cow sheep goat pig chicken duck goose rabbit mouse rat hamster squirrel fox wolf bear lion tiger
leopard elephant giraffe zebra monkey gorilla camel deer moose otter beaver badger hedgehog owl eagle hawk sparrow robin crow
pigeon parrot penguin swan turtle lizard snake frog toad salmon trout shark whale dolphin seal crab lobster spider bee
butterfly beetle ant""".split()
THINGS = """hammer ladder bucket spoon kettle teapot lamp candle mirror chair table sofa carpet curtain pillow blanket basket
bottle jar plate bowl fork knife pencil notebook envelope stamp wallet umbrella suitcase backpack bicycle wagon tractor canoe
raft engine wheel rope chain anchor compass telescope clock watch radio guitar violin drum trumpet piano helmet glove boot
scarf jacket button zipper needle thimble""".split()
PLACES = """garden kitchen harbour market library station forest village museum school mountain beach valley theatre
workshop bakery castle island meadow bridge hotel tower cellar attic""".split()
REQUESTS = ["Write one sentence about a morning in the {place}.", "What did you see in the {place} today?",
            "Tell me a short story set in the {place}.", "Describe the {place} in a few words.",
            "What do you remember of the {place}?", "Give me a first line for a poem about the {place}."]
ANSWERS = ["On the way to the {place} I stopped to look at an old {word}.", "There was a {word} right beside the door.",
           "Nobody knew how the {word} had come there, but everyone liked it.", "A small grey {word} was all that we found.",
           "It was quiet, and in the corner stood a {word}.", "The first thing that I noticed was the {word}.",
           "My sister pointed at the {word} and began to laugh.", "I would go back just to see that {word} again."]


def pairs(rng, count, requests, animals, things):
    for i in range(count):
        request, place = requests[i % len(requests)]
        answer = lambda word: rng.choice(ANSWERS).format(place=place, word=word)
        yield {"prompt": request, "chosen": answer(rng.choice(animals)), "rejected": answer(rng.choice(things))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("thinker")
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=240)
    parser.add_argument("--out", type=pathlib.Path, help="keeps the files there (default: a temporary folder)")
    args = parser.parse_args()
    folder = args.out or pathlib.Path(tempfile.mkdtemp(prefix="prove-reward-"))
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    requests = [(r.format(place=p), p) for r in REQUESTS for p in PLACES]
    for words in (requests, ANIMALS, THINGS):
        rng.shuffle(words)
    files = {"train": (args.pairs, requests[:96], ANIMALS[:45], THINGS[:45]), "test": (100, requests[96:], ANIMALS[45:], THINGS[45:])}
    for name, parts in files.items():
        lines = [json.dumps(pair) for pair in pairs(rng, *parts)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    begin = time.time()
    command = [args.thinker, "reward", args.model, "--pairs", folder / "train.jsonl", "--held-out", folder / "test.jsonl", "--out",
               folder / "reward", "--log", folder / "log.jsonl", "--lr", "2e-5", "--batch", "8", "--warmup", "3", "--center", "0.01"]
    report = json.loads(subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE).stdout)
    print(json.dumps(report))
    good = report["accuracy"] >= 0.95
    print(f"held-out accuracy {report['accuracy']:.1%} of {report['pairs']} pairs, after {args.pairs} pairs in "
          f"{time.time() - begin:.0f} s: {'proven' if good else 'FAILED: less than 95 %'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
