"""A program: a PDF on standard input, the text of its pages as JSON on standard output.

Its argument is JSON: the most `pages`, `chars` of text, bytes of `memory` and `seconds` of computing. What it says is
either {"pages": […]} or {"error": "a sentence"}.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any


def main() -> None:
    limits = json.loads(sys.argv[1])
    _bound(limits)
    try:
        answer = _read(sys.stdin.buffer.read(), limits)
    except MemoryError:
        answer = {"error": "the PDF takes more memory than a document may"}
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a file is told in a sentence
        answer = {"error": f"the PDF cannot be read: {' '.join(str(error).split())[:200] or type(error).__name__}"}
    sys.stdout.buffer.write(json.dumps(answer).encode())


def _bound(limits: dict[str, int]) -> None:
    try:
        import resource
    except ImportError:  # Windows: there the time alone is bounded, from outside
        return
    for kind, most in ((resource.RLIMIT_AS, limits["memory"]), (resource.RLIMIT_CPU, limits["seconds"])):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, hard))


def _read(content: bytes, limits: dict[str, int]) -> dict[str, Any]:
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        return {"error": "the PDF is encrypted: save it without a password and add it again"}
    if len(reader.pages) > limits["pages"]:
        return {"error": f"the PDF has {len(reader.pages)} pages, and {limits['pages']} are the most: split it"}
    texts: list[str] = []
    left = limits["chars"]
    for page in reader.pages:
        texts.append(page.extract_text().encode("utf-8", "replace").decode())
        left -= len(texts[-1])
        if left < 0:
            return {"error": f"the PDF has more than {limits['chars']} characters of text: split it"}
    if not any(text.strip() for text in texts):
        return {"error": "the PDF has no text: it may be made of pictures; recognise its text first (OCR)"}
    return {"pages": texts}


if __name__ == "__main__":
    main()
