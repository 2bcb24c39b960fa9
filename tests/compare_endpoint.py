"""Runs `thinker judge` with a pairwise judge against an OpenAI-compatible server that is not ours: llama-cpp-python's, with SmolLM2.

    python tests/compare_endpoint.py build/thinker models/SmolLM2-135M-Instruct.Q4_1.gguf

Needs pip's llama-cpp-python[server]; without it the script prints "skipped" and exits with 77. For each format it checks that
- every pair of the four responses has a game in both orders, with a verdict or an error (a model of this size often gives none);
- each verdict is the one that this script reads in the recorded answer by the format's labels;
- with a template of this script's own, the first four recorded answers are what the server says when asked by urllib;
- alpaca-eval's answers are the log-probs of its two tokens (which of the two the server lists is its model's matter);
- a repeated judging, with the server stopped, takes all from the cache and writes the same bytes; with another format it fails
  with one line that names the endpoint.
Exit 1: something differs.
"""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

try:
    import llama_cpp.server.app  # noqa: F401
except ImportError as error:
    print(f"skipped: llama-cpp-python[server] is not installed ({error})")
    sys.exit(77)

PROMPT = "Name one planet and say why you like it."
RESPONSES = ["Mars, since it is red.", "I like Jupiter because it is the largest planet and has a great storm.", "No.",
             "Saturn. Its rings are beautiful!"]
LABELS = {"self-taught-evaluator": {"[[A]]": 1, "[[B]]": -1}, "mt-bench": {"[[A]]": 1, "[[B]]": -1, "[[C]]": 0},
          "arena-hard": {"[[A>>B]]": 1, "[[A>B]]": 1, "[[A=B]]": 0, "[[B>A]]": -1, "[[B>>A]]": -1}}
failures = []


def check(ok, what):
    if not ok:
        failures.append(what)
        print("  differs:", what)


def post(url, body):
    request = urllib.request.Request(url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)


def start_server(model):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = open(tempfile.mkstemp(suffix="-server.log")[1], "w")
    server = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", "--model", model, "--port", str(port), "--host", "127.0.0.1",
                               "--n_ctx", "2048", "--logits_all", "true", "--n_threads", str(os.cpu_count())],
                              stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}/v1"
    for _ in range(240):
        if server.poll() is not None:
            sys.exit(f"the server ended; see {log.name}")
        try:
            urllib.request.urlopen(url + "/models", timeout=5).read()
            return server, url
        except OSError:
            time.sleep(0.5)
    sys.exit("the server does not answer")


def write_samples(folder):
    (folder / "prompts.jsonl").write_text(json.dumps({"id": "p", "prompt": PROMPT}) + "\n")
    lines = [{"id": "p", "sample": k, "prompt_ids": [1], "ids": [2], "logprobs": [-1], "text": r, "thought": None, "response": r,
              "parse": "ok", "stop": "end"} for k, r in enumerate(RESPONSES)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def judge(thinker, folder, recipe, out):
    path = folder / "judge.json"
    path.write_text(json.dumps(recipe))
    done = subprocess.run([thinker, "judge", "--samples", folder / "samples.jsonl", "--judge", path, "--out", folder / out],
                          capture_output=True, text=True)
    return done.returncode, done.stderr.strip()


def template_of(folder):
    """A template of this script's own, so that it can put the same question itself."""
    user = "Question: {prompt}\nFirst: {response_a}\nSecond: {response_b}\nIs A (the first) or B (the second) better?"
    path = folder / "template.json"
    path.write_text(json.dumps({"user": user, "verdicts": {"a": r"\bA\b", "b": r"\bB\b"}}))
    return str(path), user


def verdict_in(answer, labels):
    found = {label for label in labels if re.search(r"\b" + label + r"\b" if label.isalpha() else re.escape(label), answer)}
    return labels[found.pop()] if len(found) == 1 else None


def check_games(lines, labels):
    check([(g["a"], g["b"], g["order"]) for g in lines] ==
          [(a, b, o) for a in range(4) for b in range(a + 1, 4) for o in ("ab", "ba")], "the list of games")
    for g in lines:
        check(("verdict" in g) != ("error" in g), f"one of verdict and error: {g}")
        shown = [RESPONSES[g["a"]], RESPONSES[g["b"]]][::1 if g["order"] == "ab" else -1]
        check(g["view"] == {"prompt": [{"role": "user", "content": PROMPT}], "responses": shown}, f"view {g['view']}")
        if labels:
            expected = verdict_in(g["answer"], labels)
            if expected is not None and g["order"] == "ba":
                expected = -expected
            check(g.get("verdict") == expected, f"verdict {g.get('verdict')} of {g['answer']!r}")


def main():
    thinker, model = sys.argv[1], sys.argv[2]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="thinker-endpoint-"))
    write_samples(folder)
    template, user = template_of(folder)
    server, url = start_server(model)
    recipe = {"kind": "pairwise", "endpoint": url, "model": "smollm2", "max_new": 48, "concurrency": 2, "timeout_s": 300}
    try:
        for name in ["self-taught-evaluator", "mt-bench", "arena-hard", "alpaca-eval", template]:
            out = pathlib.Path(name).stem + "-judgments.jsonl"
            code, said = judge(thinker, folder, {**recipe, "format": name}, out)
            check(code == 0, f"{name}: exit {code}: {said}")
            if code != 0:
                continue
            games = [json.loads(line) for line in open(folder / out)]
            print(f"{pathlib.Path(name).stem}: {said.splitlines()[-1]}")
            print(f"    first answer: {re.sub(r'[^ -~]+', ' ', games[0]['answer'])[:100]!r}")
            check_games(games, LABELS.get(name) or ({"A": 1, "B": -1} if name == template else None))
            if name == template:
                for g in games[:4]:
                    a, b = g["view"]["responses"]
                    text = user.replace("{prompt}", PROMPT).replace("{response_a}", a).replace("{response_b}", b)
                    mine = post(url, {"model": "x", "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 48})
                    check(mine["choices"][0]["message"]["content"] == g["answer"], f"the server tells us {mine['choices'][0]} for {g['answer']!r}")
            if name == "alpaca-eval":
                check(all(isinstance(json.loads(g["answer"] or "{}"), dict) for g in games), "log-probs as answers")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    before = (folder / "mt-bench-judgments.jsonl").read_bytes()
    code, said = judge(thinker, folder, {**recipe, "format": "mt-bench", "retries": 0}, "again.jsonl")
    check(code == 0 and (folder / "again.jsonl").read_bytes() == before, f"from the cache, without a server: {code} {said}")
    code, said = judge(thinker, folder, {**recipe, "format": "mt-bench", "max_new": 49, "retries": 0}, "dead.jsonl")
    print("without a server:", said)
    check(code == 1 and url in said and said.count("\n") == 0, f"a dead endpoint: exit {code}: {said}")
    print("all in order" if not failures else f"{len(failures)} checks failed", f"(files in {folder})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
