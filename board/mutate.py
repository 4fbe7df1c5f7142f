"""Mutation of the line's pure code; see mutate.sh.

All changes are compiled at once, each behind a number, and the tests run once per number: one build
instead of thousands. A change that does not compile is dropped. An existing tool that builds for each
change would take hours here.

The source is read as tokens, in the format of rustfmt (spaces around binary operators).
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

FILES = [
    "src/line/pairing.rs",
    "src/line/quadrature.rs",
    "src/line/controller.rs",
    "src/line/controller/belt.rs",
    "src/line/lease.rs",
    "src/line/gate/alarm.rs",
    "src/line/gate/along.rs",
    "src/line/gate/counters.rs",
    "src/line/gate/fault.rs",
    "src/line/gate/lines.rs",
    "src/line/gate/machine.rs",
    "src/line/gate/machine/confirming.rs",
    "src/line/gate/machine/due.rs",
    "src/line/gate/machine/ejection.rs",
    "src/line/gate/machine/sensor.rs",
    "src/line/gate/machine/untracked.rs",
    "src/line/gate/settings.rs",
    "src/time.rs",
]
# With --station: the code of the supervisor that works with real processes and sockets.
STATION_FILES = ["src/station/supervisor.rs", "src/station/link.rs"]
# The code that those two files need, and their dependencies.
STATION_NEEDS = ["src/line", "src/station", "src/simulation/lines", "src/clock.rs", "src/seed.rs", "src/time.rs"]
STATION_CRATES = {"blake3", "log", "rustix", "thiserror", "thread-priority", "heapless", "proptest", "tempfile"}
ACCEPTED = "tests/line_alone/accepted-mutants.txt"
WORK = "target/mutate"
STATION_WORK = "target/mutate-station"
# Evaluated by the compiler, so a change in them cannot be switched at run time.
CONST_FNS = {"from_millis"}
# Limits of processor time, in seconds, and of memory, in bytes, for one run of the tests. They need far
# less; a change that makes them hang is caught.
PATIENCE = 4
MEMORY = 1 << 30
# The tests of the station wait for processes: limit in seconds by the wall clock, and tests at a time.
STATION_PATIENCE = 60
STATION_AT_A_TIME = 3
# Tests with random events. They run only for changes that the other tests do not catch.
SLOW = ["random::", "every_frame_comes", "every_part_and", "pass_is_on_only_in_time"]

SWITCH = """
/// The active change.
pub mod mutant {
    use crate::time::{Count, Counts, Duration, Instant};
    static ACTIVE: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        std::env::var("MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(u32::MAX)
    });
    pub fn on(n: u32) -> bool {
        *ACTIVE == n
    }
    pub fn truth(n: u32, x: bool) -> bool {
        x || on(n)
    }
    pub fn falsehood(n: u32, x: bool) -> bool {
        x && !on(n)
    }
    pub fn inverse(n: u32, x: bool) -> bool {
        x ^ on(n)
    }
    pub fn none<T>(n: u32, x: Option<T>) -> Option<T> {
        if on(n) { None } else { x }
    }
    pub fn zero<T: Default>(n: u32, x: T) -> T {
        if on(n) { T::default() } else { x }
    }
    pub fn one<T: From<u8>>(n: u32, x: T) -> T {
        if on(n) { T::from(1) } else { x }
    }
    pub trait Top {
        const TOP: Self;
    }
    impl Top for u64 {
        const TOP: Self = u64::MAX;
    }
    impl Top for Instant {
        const TOP: Self = Self(u64::MAX);
    }
    impl Top for Duration {
        const TOP: Self = Self(u64::MAX);
    }
    impl Top for Count {
        const TOP: Self = Self(u64::MAX);
    }
    impl Top for Counts {
        const TOP: Self = Self(u64::MAX);
    }
    impl Top for std::time::Duration {
        const TOP: Self = std::time::Duration::MAX;
    }
    pub fn top<T: Top>(n: u32, x: T) -> T {
        if on(n) { T::TOP } else { x }
    }
}
"""

TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<str>b?"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])')
    |(?P<life>'\w+)
    |(?P<word>\w+)
    |(?P<op>=>|->|::|\.\.=|\.\.|&&|\|\||==|!=|<=|>=|\+=|-=|\*=|/=|\|=|&=|.)""",
    re.S | re.X,
)
OPEN, CLOSE = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}
COMPARE = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": None, "!=": None}
ASSIGN = {"=", "+=", "-=", "*=", "/=", "|=", "&="}
WORDS = {"if", "while", "return", "match", "in", "let", "else", "move", "as_ref"}
TRUTHS = {"is_some", "is_none", "is_empty", "has", "contains", "is_err", "is_ok", "is_full",
          "is_some_and", "is_none_or", "level", "raised"}
TESTING = {"filter", "find", "any", "all", "is_some_and", "is_none_or", "take_while", "position"}
LENGTHS = {"after", "before", "since", "saturating_add", "saturating_sub", "max", "checked_add", "unwrap_or"}


class Source:
    """One file and its changes."""

    def __init__(self, path):
        self.path = path
        text = open(path, encoding="utf-8").read()
        self.text = text
        cut = text.find("#[cfg(test)]\nmod tests {")
        self.end = cut if cut >= 0 else len(text)
        self.tokens = []
        for m in TOKEN.finditer(text, 0, self.end):
            if m.lastgroup != "skip":
                self.tokens.append((m.group(), m.start(), m.end()))
        self.pair = {}
        stack = []
        for i, (t, _, _) in enumerate(self.tokens):
            if t in OPEN:
                stack.append(i)
            elif t in CLOSE:
                self.pair[i] = stack.pop()
                self.pair[self.pair[i]] = i
        self.fns = []
        self.bars = {}
        self.find_fns()
        self.find_bars()
        self.changes = []
        self.seen = set()
        for name, start, end, bools in self.fns:
            if name in CONST_FNS:
                continue
            self.fn = name
            if bools:
                at = self.tokens[start][2]
                head = text[: self.tokens[start][1]].rsplit("\n", 1)[-1].strip()
                for value in ("true", "false"):
                    self.add(at, at, f"if crate::mutant::on(#) {{ return {value}; }}", "",
                             head, f"always {value}")
            self.walk(start + 1, end)

    def tok(self, i):
        return self.tokens[i][0] if 0 <= i < len(self.tokens) else ""

    def spaced(self, i):
        _, s, e = self.tokens[i]
        return self.text[s - 1].isspace() and self.text[e].isspace()

    def find_fns(self):
        for i in range(len(self.tokens)):
            if self.tok(i) != "fn" or not self.tok(i + 1).isidentifier():
                continue
            j = i + 2
            while self.tok(j) not in ("{", ";"):
                j = self.pair[j] + 1 if self.tok(j) in ("(", "[") else j + 1
            if self.tok(j) == "{":
                bools = self.tok(j - 1) == "bool" and self.tok(j - 2) == "->"
                self.fns.append((self.tok(i + 1), j, self.pair[j], bools))

    def find_bars(self):
        """Finds begin and end of the arguments of closures; maps each to the other."""
        i = 0
        while i < len(self.tokens):
            if self.tok(i) == "|" and self.tok(i - 1) in ("(", ",", "=", "move", "{"):
                j = i + 1
                while self.tok(j) != "|":
                    j = self.pair[j] + 1 if self.tok(j) in OPEN else j + 1
                self.bars[i] = j
                self.bars[j] = i
                i = j
            i += 1

    def binary(self, i):
        return self.tok(i) in ("&&", "||", "<", "<=", ">", ">=", "==", "!=") and self.spaced(i)

    def left(self, i, weaker):
        """Index of the first token of the operand that ends before token `i`."""
        j = i - 1
        while j >= 0:
            t = self.tok(j)
            if t in CLOSE:
                if t == "}" and self.tok(j + 1) != ".":
                    break
                j = self.pair[j] - 1
                continue
            if (t in OPEN or t in (",", ";", "=>") or t in ASSIGN or t in WORDS
                    or j in self.bars or (t in weaker and self.spaced(j))):
                break
            j -= 1
        return j + 1

    def right(self, i, weaker):
        """Index after the last token of the operand that begins after token `i`."""
        j = i + 1
        while j < len(self.tokens):
            t = self.tok(j)
            if t == "{":
                break
            if t in OPEN:
                j = self.pair[j] + 1
                continue
            if (t in CLOSE or t in (",", ";", "=>", "else") or t in ASSIGN
                    or (t in weaker and self.spaced(j))):
                break
            j += 1
        return j

    def raw(self, a, b):
        """Tokens a..b as one line of text."""
        text = self.text[self.tokens[a][1] : self.tokens[b - 1][2]]
        return re.sub(r"\s+", " ", re.sub(r"//[^\n]*", "", text))

    def add(self, start, end, prefix, suffix, was, now):
        key = (start, end, now)
        if key not in self.seen:
            self.seen.add(key)
            line = self.text.count("\n", 0, start) + 1
            self.changes.append(dict(path=self.path, fn=self.fn, line=line, start=start, end=end,
                                     prefix=prefix, suffix=suffix, was=was, now=now))

    def wrap(self, a, b, call, now):
        self.add(self.tokens[a][1], self.tokens[b - 1][2], f"crate::mutant::{call}(#, ", ")",
                 self.raw(a, b), now)

    def truth(self, a, b):
        """Adds changes for tokens a..b, which are true or false."""
        if a >= b or self.tok(a) in ("let", "true", "false"):
            return
        if self.tok(a - 1) in ("=",) and self.tok(b) in ("&&", "{"):
            k = a - 1
            while k > 0 and self.tok(k) not in ("let", ";", "{", "}"):
                k -= 1
            if self.tok(k) == "let" and self.tok(k - 1) in ("if", "while", "&&"):
                return
        for call, now in (("truth", "true"), ("falsehood", "false"), ("inverse", "inverted")):
            self.wrap(a, b, call, now)

    def instead(self, a, b, text):
        self.add(self.tokens[a][1], self.tokens[b - 1][2],
                 f"(if crate::mutant::on(#) {{ {text} }} else {{ ", " })", self.raw(a, b), text)

    def walk(self, start, end):
        for i in range(start, end):
            t = self.tok(i)
            if t in COMPARE and self.binary(i):
                weaker = {"&&", "||"}
                a, b = self.left(i, weaker), self.right(i, weaker)
                self.truth(a, b)
                if COMPARE[t]:
                    self.instead(a, b, f"{self.raw(a, i)} {COMPARE[t]} {self.raw(i + 1, b)}")
            elif t in ("&&", "||") and self.binary(i):
                weaker = {"||"} if t == "||" else {"&&", "||"}
                self.truth(self.left(i, weaker), i)
                self.truth(i + 1, self.right(i, weaker))
            elif t in ("if", "while") and self.tok(i + 1) != "let":
                b = self.right(i, set())
                if "let" not in {self.tok(k) for k in range(i + 1, b)}:
                    self.truth(i + 1, b)
            elif i in self.bars and self.bars[i] < i and self.tok(self.bars[i] - 1) == "(" \
                    and self.tok(self.bars[i] - 2) in TESTING and self.tok(i + 1) != "{":
                self.truth(i + 1, self.pair[self.bars[i] - 1])
            elif t in TRUTHS and self.tok(i - 1) == "." and self.tok(i + 1) == "(":
                b = self.pair[i + 1] + 1
                if self.tok(b) != ".":
                    self.truth(self.left(i, {"&&", "||"}), b)
            elif t in ("+", "-", "*", "/") and self.spaced(i) and not self.tok(i - 1) == ",":
                weaker = {"&&", "||", "<", "<=", ">", ">=", "==", "!=", "+", "-", "..="}
                if t in "*/":
                    weaker |= {"*", "/", "%"}
                b = i + 1
                while self.tok(b) not in CLOSE | {",", ";", "{", "=>", "..="} and not (
                        self.tok(b) in weaker and self.spaced(b)):
                    b = self.pair[b] + 1 if self.tok(b) in OPEN else b + 1
                self.wrap(i + 1, b, "zero" if t in "+-" else "one", f"without `{t} {self.raw(i + 1, b)}`")
            elif t in LENGTHS and self.tok(i - 1) == "." and self.tok(i + 1) == "(":
                b = self.pair[i + 1]
                if b > i + 2:
                    self.wrap(i + 2, b, "zero", f"{t}(0)")
            elif t == "min" and self.tok(i - 1) == "." and self.pair[i + 1] > i + 2:
                self.wrap(i + 2, self.pair[i + 1], "top", "without min")
            elif t == "matches" and self.tok(i + 1) == "!":
                self.alternatives(i, self.pair[i + 2] + 1)
            elif t == "[" and self.tok(i - 1) == "=" and self.tok(i - 3) == "let":
                self.elements(i)
            elif t == "=>" and self.tok(i + 1) not in ("{", "return"):
                b = self.right_of_arm(i)
                self.add(self.tokens[i + 1][1], self.tokens[b - 1][2],
                         "if !crate::mutant::on(#) { ", " }", self.raw(i + 1, b), "nothing")
            elif t == ";":
                self.statement(i)
            elif t == "Some" and self.tok(i + 1) == "(" and self.tok(i - 1) in ("=", "=>", "{", ";", "else"):
                b = self.pair[i + 1] + 1
                if self.tok(b) in (";", "}", ","):
                    self.wrap(i, b, "none", "None")

    def right_of_arm(self, i):
        j = i + 1
        while self.tok(j) not in CLOSE | {","}:
            j = self.pair[j] + 1 if self.tok(j) in OPEN else j + 1
        return j

    def statement(self, i):
        j = i - 1
        while self.tok(j) not in ("{", ";", "}") or (self.tok(j) == "}" and self.tok(j + 1) in (".", ";", ")", "else")):
            j = self.pair[j] - 1 if self.tok(j) in CLOSE else j - 1
        a = j + 1
        if self.tok(a) in ("let", "use", "const", "struct", "static", "#") or a >= i:
            return
        if self.tok(a) in ("return", "break", "continue") and self.tok(i + 1) == "}" \
                and self.tok(i + 2) == ";":
            # The block of `let ... else` must leave the function or loop.
            return
        self.add(self.tokens[a][1], self.tokens[i][2], "if !crate::mutant::on(#) { ", " }",
                 self.raw(a, i), "nothing")

    def alternatives(self, a, b):
        text = self.raw(a, b)
        comma = text.index(",")
        pattern = text[comma:]
        one = r"[\w:]+(?:\((?:[^()|]|\([^()]*\))*\))?"
        for chain in re.finditer(rf"{one}(?: \| {one})+", pattern):
            parts = chain.group().split(" | ")
            for k, part in enumerate(parts):
                rest = " | ".join(parts[:k] + parts[k + 1 :])
                self.instead(a, b, text[:comma] + pattern[: chain.start()] + rest + pattern[chain.end() :])

    def elements(self, i):
        at, elements = i + 1, []
        while at < self.pair[i]:
            b = self.right_of_arm(at - 1)
            elements.append((at, b))
            at = b + 1
        for k, (a, b) in enumerate(elements):
            c, d = elements[(k + 1) % len(elements)]
            if (c, d) != (a, b) and all(self.tok(x).isidentifier() or self.tok(x) == "::" for x in range(a, b)):
                self.instead(a, b, self.raw(c, d))

    def render(self, dropped):
        """The file with all changes in it, and begin and end of each change in bytes."""
        changes = [c for c in self.changes if c["number"] not in dropped]
        changes.sort(key=lambda c: (c["start"], -c["end"], c["number"]))
        out, ends, where, at = [], [], [], 0
        size = 0

        def put(text):
            nonlocal size
            out.append(text)
            size += len(text.encode())

        def close_until(position):
            nonlocal at
            while ends and ends[-1]["end"] <= position:
                change = ends.pop()
                put(self.text[at : change["end"]])
                at = max(at, change["end"])
                put(change["suffix"])
                where.append((change["from"], size, change["number"]))

        for change in changes:
            close_until(change["start"] if change["start"] < change["end"] else change["start"])
            if ends and change["end"] > ends[-1]["end"]:
                dropped[change["number"]] = "crosses another change"
                continue
            put(self.text[at : change["start"]])
            at = change["start"]
            change["from"] = size
            put(change["prefix"].replace("#", str(change["number"])))
            ends.append(change)
        close_until(len(self.text) + 1)
        put(self.text[at:])
        text = "".join(out)
        for name in re.findall(r"const fn (\w+)", text):
            if name not in CONST_FNS:
                # Of the same length, so that byte positions do not change.
                text = text.replace(f"const fn {name}", f"      fn {name}")
        return text, where


def name_all(sources):
    """Gives each change a number, and a name that stays the same when the file changes elsewhere."""
    number, names = 0, {}
    for source in sources:
        for change in source.changes:
            change["number"] = number
            number += 1
            name = f"{source.path} {change['fn']}: {change['was']} => {change['now']}"
            names[name] = names.get(name, 0) + 1
            change["name"] = name + (f" ({names[name]})" if names[name] > 1 else "")
    return [c for s in sources for c in s.changes]


def station_workspace():
    """Makes a crate of the supervisor, the link and the code they need, with the tests of these two."""
    os.makedirs(WORK, exist_ok=True)
    shutil.rmtree(f"{WORK}/src", ignore_errors=True)
    for need in STATION_NEEDS:
        os.makedirs(os.path.dirname(f"{WORK}/{need}"), exist_ok=True)
        (shutil.copytree if os.path.isdir(need) else shutil.copy)(need, f"{WORK}/{need}")
    path = f"{WORK}/src/station/sealed_files.rs"
    files = open(path, encoding="utf-8").read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(files.partition("#[cfg(test)]\nmod tests {")[0])
    head = open("Cargo.toml", encoding="utf-8").read()
    parts = {part.partition("]")[0]: part for part in re.split(r"(?m)^(?=\[)", head)}
    lines = parts["[dependencies"].splitlines() + parts["[dev-dependencies"].splitlines()
    needed = [x for x in lines if re.split(r"[ .=]", x)[0] in STATION_CRATES]
    with open(f"{WORK}/Cargo.toml", "w", encoding="utf-8") as f:
        f.write("[workspace]\n\n" + parts["[workspace.dependencies"]
                + '[package]\nname = "station-alone"\nversion = "0.0.0"\nedition = "2024"\n\n'
                + '[lib]\npath = "lib.rs"\n\n[dependencies]\n' + "\n".join(needed) + "\n\n"
                + "[profile.dev]\nopt-level = 1\n")
    shutil.copy("Cargo.lock", f"{WORK}/Cargo.lock")
    with open(f"{WORK}/lib.rs", "w", encoding="utf-8") as f:
        f.write(open("board/mutate_station.rs", encoding="utf-8").read() + SWITCH)


def workspace():
    """Makes a crate of the copied files, beside the original."""
    os.makedirs(f"{WORK}/tests", exist_ok=True)
    for folder in ("src/line", "tests/line_alone"):
        shutil.rmtree(f"{WORK}/{folder}", ignore_errors=True)
        shutil.copytree(folder, f"{WORK}/{folder}", ignore=shutil.ignore_patterns("proptest-regressions"))
    shutil.copy("src/time.rs", f"{WORK}/src/time.rs")
    head = open("Cargo.toml", encoding="utf-8").read()
    parts = re.split(r"(?m)^(?=\[)", head)
    keep = [p for p in parts if p.startswith("[workspace.") or p.startswith("[profile.dev")]
    with open(f"{WORK}/Cargo.toml", "w", encoding="utf-8") as f:
        f.write('[workspace]\nmembers = ["tests/line_alone"]\nresolver = "3"\n\n' + "".join(keep))
    shutil.copy("Cargo.lock", f"{WORK}/Cargo.lock")
    with open(f"{WORK}/tests/line_alone/src/lib.rs", "a", encoding="utf-8") as f:
        f.write(SWITCH)


def build(sources, known, jobs, station):
    """Builds the test program. Returns it, and the changes that do not compile with the reason."""
    dropped = {c["number"]: known[c["name"]] for s in sources for c in s.changes if c["name"] in known}
    by_number = {c["number"]: c for s in sources for c in s.changes}
    (station_workspace if station else workspace)()
    package = "station-alone" if station else "line-alone"
    for _ in range(40):
        where = {}
        for source in sources:
            text, where[source.path] = source.render(dropped)
            with open(f"{WORK}/{source.path}", "w", encoding="utf-8") as f:
                f.write(text)
        run = subprocess.run(
            ["cargo", "test", "-p", package, "--lib", "--no-run", "--message-format=json", f"-j{jobs}"],
            cwd=WORK, capture_output=True, text=True,
            env=dict(os.environ, CARGO_TARGET_DIR=os.path.abspath(f"{WORK}/target"), RUSTFLAGS="-Awarnings"))
        errors = 0
        program = None
        for line in run.stdout.splitlines():
            message = json.loads(line)
            if message.get("executable"):
                program = message["executable"]
            if message.get("reason") != "compiler-message" or message["message"]["level"] != "error":
                continue
            spans = message["message"]["spans"]
            for span in spans:
                path = next((p for p in where if span["file_name"].endswith(p)), "")
                blamed = [w for w in where.get(path, [])
                          if w[0] <= span["byte_start"] and span["byte_end"] <= w[1]]
                if not span["is_primary"]:
                    continue
                if "moved value" in message["message"]["message"]:
                    # The statement that left the function after it took the value is gone.
                    first = min(s["byte_start"] for s in spans)
                    blamed = [w for w in where.get(path, []) if first <= w[0] and w[1] <= span["byte_end"]
                              and by_number[w[2]]["was"].startswith("return")]
                else:
                    blamed = [min(blamed, key=lambda w: w[1] - w[0])] if blamed else []
                # A removed statement that left a match or gave a moved value back is named beside the error.
                for beside in () if blamed else spans:
                    if re.search("found to be of type|reinitialization", beside["label"] or ""):
                        blamed += [w for w in where.get(path, []) if by_number[w[2]]["now"] == "nothing"
                                   and w[0] <= beside["byte_start"] and beside["byte_end"] <= w[1]][:1]
                for _, _, number in blamed:
                    if number not in dropped:
                        dropped[number] = message["message"]["message"]
                        errors += 1
        if program and run.returncode == 0:
            return program, dropped
        if not errors:
            sys.stderr.write(run.stderr[-4000:])
            for line in run.stdout.splitlines():
                message = json.loads(line)
                if message.get("reason") == "compiler-message" and message["message"]["level"] == "error":
                    sys.stderr.write(message["message"]["rendered"])
            sys.exit(2)
        print(f"{errors} changes do not compile; building again", flush=True)
    sys.exit(2)


def try_one(program, number, path):
    """The first test that fails with this change; None if none fails."""
    skip = [word for name in SLOW for word in ("--skip", name)]
    own = re.match(r"src/(line/\w+|time)", path).group(1).replace("/", "::")
    return (tests_fail(program, number, [own, *skip]) or tests_fail(program, number, skip)
            or tests_fail(program, number, SLOW))


def try_one_of_station(program, number, path):
    """Like `try_one`. A change that makes the tests hang counts as caught."""
    own = re.match(r"src/(station/\w+)", path).group(1).replace("/", "::")
    skip = ["--skip", own]
    return station_tests_fail(program, number, [own]) or station_tests_fail(program, number, ["station::", *skip])


def station_tests_fail(program, number, chosen):
    env = dict(os.environ, MUTANT=str(number), PROPTEST_MAX_SHRINK_ITERS="0", PROPTEST_RNG_SEED="1",
               PROPTEST_DISABLE_FAILURE_PERSISTENCE="1", RUST_BACKTRACE="0")
    run = subprocess.Popen([program, "--test-threads=16", *chosen], cwd=WORK, env=env, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
    hangs = threading.Event()
    timer = threading.Timer(STATION_PATIENCE, lambda: (hangs.set(), run.kill()))
    timer.start()
    failed = None
    for line in run.stdout:
        name = re.match(r"test (\S+) \.\.\. FAILED", line)
        if name:
            # The first is enough.
            failed = name.group(1)
            run.kill()
            break
    run.stdout.close()
    code = run.wait()
    timer.cancel()
    if failed or code == 0:
        return failed
    return "hangs" if hangs.is_set() else f"the program ends with {code}"


def tests_fail(program, number, chosen):
    shutil.rmtree(f"{WORK}/tests/line_alone/proptest-regressions", ignore_errors=True)
    env = dict(os.environ, MUTANT=str(number), PROPTEST_MAX_SHRINK_ITERS="0", PROPTEST_RNG_SEED="1",
               RUST_BACKTRACE="0")

    def limits():
        resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    run = subprocess.Popen([program, "--test-threads=1", *chosen], cwd=WORK, env=env, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True, preexec_fn=limits)
    failed, current = None, "the program"
    for line in run.stdout:
        name = re.match(r"test (\S+) \.\.\.", line)
        current = name.group(1) if name else current
        if line.strip().endswith("FAILED"):
            # The first is enough.
            failed = current
            run.kill()
            break
    run.stdout.close()
    code = run.wait()
    return failed or (None if code == 0 else f"{current} ends with {code}")


def digest(paths):
    h = hashlib.sha256()
    for path in sorted(paths):
        h.update(path.encode() + b"\0" + open(path, "rb").read() + b"\0")
    return h.hexdigest()


def accepted(sources):
    files = {source.path for source in sources}
    reasons = {}
    if os.path.exists(ACCEPTED):
        for line in open(ACCEPTED, encoding="utf-8"):
            if line.strip() and not line.startswith("#"):
                name, sign, reason = line.rstrip("\n").partition(" ## ")
                if not sign or not reason.strip():
                    print(f"{ACCEPTED}: no reason: {line}", file=sys.stderr)
                    sys.exit(2)
                if name.partition(" ")[0] in files:
                    reasons[name.strip()] = reason.strip()
    return reasons


def main():
    global WORK
    args = argparse.ArgumentParser()
    args.add_argument("--fresh", action="store_true")
    args.add_argument("--only", default="")
    args.add_argument("--list", action="store_true")
    args.add_argument("--station", action="store_true")
    args.add_argument("--jobs", default="1")
    args = args.parse_args()
    if args.station:
        WORK = STATION_WORK
    sources = [Source(path) for path in (STATION_FILES if args.station else FILES)]
    changes = name_all(sources)
    if args.list:
        for c in changes:
            if args.only in c["name"]:
                print(f"{c['path']}:{c['line']}: {c['name']}")
        return 0
    began = time.monotonic()
    # Read before the build, so that the next run tries what is edited meanwhile.
    code = hashlib.sha256("".join(s.text[: s.end] for s in sources).encode()).hexdigest()
    room = "src/station" if args.station else "src/line"
    tests = digest([os.path.join(folder, f) for folder, _, files in os.walk(room) for f in files
                    if f.endswith(".rs")] + ["src/time.rs"])
    state_path = f"{WORK}/results.json"
    state = {}
    if os.path.exists(state_path) and not args.fresh:
        state = json.load(open(state_path, encoding="utf-8"))
    if state.get("code") != code:
        state = dict(code=code, tests=tests, results={})
    program, dropped = build(sources, state.get("dropped", {}), args.jobs, args.station)
    state["dropped"] = {c["name"]: dropped[c["number"]] for c in changes if c["number"] in dropped}
    if state["tests"] != tests:
        # New tests can catch more changes. A caught change stays caught.
        state["results"] = {n: r for n, r in state["results"].items() if r}
        state["tests"] = tests
    attempt, at_a_time = (try_one_of_station, STATION_AT_A_TIME) if args.station else (try_one, 1)
    failed = attempt(program, 2**32 - 1, sources[0].path)
    if failed:
        print(f"the tests fail without any change: {failed}", file=sys.stderr)
        return 2
    todo = [c for c in changes if c["number"] not in dropped and args.only in c["name"]]
    fresh = [c for c in todo if c["name"] not in state["results"]]
    with ThreadPoolExecutor(at_a_time) as pool:
        tried = pool.map(lambda c: attempt(program, c["number"], c["path"]), fresh)
        for done, (c, failed) in enumerate(zip(fresh, tried)):
            state["results"][c["name"]] = failed
            if not failed:
                print(f"{c['path']}:{c['line']}: {c['name']}", flush=True)
            if done % 20 == 19:
                json.dump(state, open(state_path, "w", encoding="utf-8"), indent=0)
    json.dump(state, open(state_path, "w", encoding="utf-8"), indent=0)
    reasons = accepted(sources)
    results = {c["name"]: state["results"][c["name"]] for c in todo}
    left = [c for c in todo if not results[c["name"]] and c["name"] not in reasons]
    for name in reasons:
        if results.get(name) or (not args.only and name not in results):
            print(f"accepted, but caught or gone: {name}")
    with open(f"{WORK}/dropped.txt", "w", encoding="utf-8") as f:
        for c in changes:
            if c["number"] in dropped:
                f.write(f"{c['path']}:{c['line']}: {c['name']} -- {dropped[c['number']]}\n")
    caught = sum(1 for r in results.values() if r)
    print(f"\nnot caught and not accepted: {len(left)}")
    for c in left:
        print(f"{c['path']}:{c['line']}: {c['name']}")
    print(f"{len(todo)} changes, {caught} caught, {len(todo) - caught - len(left)} accepted, {len(left)} open; "
          f"{len(dropped)} do not compile; {time.monotonic() - began:.0f} s")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
