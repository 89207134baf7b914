"""Lines of text in many scripts, for comparing tokenizers: translations and manuals that Debian packages carry, Unicode's own test files, and lines
made of every assigned character, of emoji, of controls and of broken UTF-8. All are bytes without a newline or a zero byte."""
import gettext
import gzip
import pathlib
import random
import re
import subprocess
import sys
import unicodedata

# Fetched by apt-get download, unpacked beside the work, not installed.
PACKAGES = """
iso-codes vlc-l10n manpages-de manpages-es manpages-fr manpages-ja manpages-ru manpages-zh manpages-pl aptitude-doc-cs aptitude-doc-fi aptitude-doc-ja
aptitude-doc-ru unicode-data coreutils git
""".split()


def unpack(folder):
    """The folder of the unpacked packages; those that cannot be had are left out."""
    root = folder / "packages"
    if (root / "complete").exists():
        return root
    root.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        subprocess.run(["apt-get", "download", "-q", package], cwd=root, capture_output=True)
    for deb in root.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(deb), str(root / "files")], capture_output=True)
    (root / "complete").write_text("")
    return root


def of_translations(root):
    for path in sorted(root.glob("files/usr/share/locale/*/LC_MESSAGES/*.mo")):
        try:
            with open(path, "rb") as f:
                catalog = gettext.GNUTranslations(f)._catalog
        except Exception:  # a catalogue of another encoding than it says
            continue
        for text in catalog.values():
            for line in text.split("\n"):
                yield line.encode("utf-8", "replace")


def of_documents(root):
    for pattern in ("files/usr/share/man/**/*.gz", "files/usr/share/doc/**/*.html"):
        for path in sorted(root.glob(pattern)):
            try:
                data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
            except OSError:
                continue
            yield from re.sub(rb"<[^<>]*>", b"", data).split(b"\n")


def of_unicode(root):
    for name in ("NormalizationTest.txt", "NamesList.txt", "auxiliary/GraphemeBreakTest.txt", "emoji/emoji-test.txt"):
        for path in sorted(root.glob(f"files/usr/share/unicode/**/{name}")):
            for line in path.read_text("utf-8", "replace").split("\n"):
                yield line.encode()
                if name == "NormalizationTest.txt" and line[:1].isalnum():
                    for field in line.split(";")[:5]:
                        yield "".join(chr(int(c, 16)) for c in field.split()).encode()


def of_all_characters(rng, count):
    """Words of neighbouring characters, so that scripts stay together, for every assigned block."""
    assigned = [c for c in range(0x20, 0x30000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) not in ("Cn", "Co")]
    for i in range(count):
        at = (i * 97) % len(assigned)
        near = assigned[max(0, at - 30):at + 30]
        words = ["".join(chr(rng.choice(near)) for _ in range(rng.randint(1, 8))) for _ in range(rng.randint(1, 8))]
        yield rng.choice([" ", "  ", " \t", "\u3000", "\u00a0", ", ", "-"]).join(words).encode()


def of_trouble(rng, count):
    """Emoji, controls, marks in any order, broken UTF-8, runs, numbers, what added tokens look like."""
    pieces = ["\U0001F468\u200D\U0001F469\u200D\U0001F467", "\U0001F1E9\U0001F1EA", "\U0001F44D\U0001F3FD", "e\u0301\u0327\u0323", "\u0344", "\u1E9B\u0323", "\uFB01", "\uFDFA",
              "\r", "\t", "\x0b", "\x0c", "\x1c", "\x7f", "\x85", "\xa0", "\u200b", "\u200d", "\u2028", "\u2581", "\ufeff", "\ufffd", "\u00ad", "\u202e", "  ", "   ", " ", "'s", "'ll",
              " 'Re", "don't", "123", "4567", "3.14", "\u0663", "\u00b2", "\u2167", "\uac00\u11a8", "\u1100\u1161\u11a8", "\u4e2d\u6587", "\u65e5\u672c\u8a9e\u3067\u3059",
              "\u0130stanbul", "STRASSE", "\u1e9e", "\u03a3\u03a3", "[MASK]", "[CLS]", "<mask>", "</s>", "<s>", "<|endoftext|>", "<unk>", "<0x41>", "hello", "World", "a", "...", "!?", "_", "-", "``",
              "$", "\u20ac", "\u0e01\u0e33", "\u0915\u094d\u0937", "\u1019\u103c\u1014\u103a", "<new>", "NEW tok", "newtok", "\u0915\u093c"]
    broken = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf8\x88\x80\x80\x80", b"\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\xaf"]
    for i in range(count):
        line = b""
        for _ in range(rng.randint(1, 12)):
            part = rng.choice(pieces).encode() if i % 3 else rng.choice([rng.choice(pieces).encode(), rng.choice(broken)])
            line += part * rng.choice([1, 1, 1, 1, 2, 5]) + rng.choice([b"", b"", b" "])
        yield line
    for i in range(count // 10):
        yield bytes(rng.randrange(1, 256) for _ in range(rng.randint(0, 60)))
    for text in ("", " ", "a" * 5000, " " * 3000, "\u4e2d" * 3000, "ab" * 4000, "0" * 2000, "\u0301" * 500, "a\u0301" * 2000, "x " * 3000):
        yield text.encode()


def lines(folder, most):
    """At most so many, in an order of chance."""
    rng = random.Random(19)
    root = unpack(folder)
    seen = set()
    for source in (of_translations(root), of_documents(root), of_unicode(root)):
        for line in source:
            line = line.replace(b"\0", b"")
            if line.strip():
                seen.add(line[:4000])
    texts = sorted(seen)
    rng.shuffle(texts)
    made = list(of_all_characters(rng, most // 10)) + list(of_trouble(rng, most // 10))
    made = [line.replace(b"\0", b"").replace(b"\n", b"") for line in made]
    texts = made + texts[:max(0, most - len(made))]
    rng.shuffle(texts)
    return texts


if __name__ == "__main__":
    out = lines(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.buffer.write(b"\n".join(out))
