"""What a stream says again and again: frames that are the same but for one text. They need no parser.

What stands around the text is learnt from one frame that was read in full. A frame with the same bytes around another
text is the same JSON but for this one string, so it can tell nothing else: no error, no usage, no end. Frames may also
differ where nobody reads: in a running number, and in the letters or blanks by which vendors hide the length of words.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from asgi_llmgw.json import JSONError, dumps, loads_string, loads_strings

_LESSONS: Final = 8
_TEXT: Final = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
"""The inside of a JSON string, those with halves of characters apart: some of them stand for nothing."""
_NUMBER: Final = rb"(?:0|[1-9][0-9]{0,17})"
_LETTERS: Final = rb"[A-Za-z0-9]*+"
_BLANKS: Final = rb" *+"
_UNREAD: Final = (
    (b'"sequence_number"', re.compile(rb'"sequence_number": ?(%b)(?=[,}])' % _NUMBER), _NUMBER),
    (b'"created"', re.compile(rb'"created": ?(%b)(?=[,}])' % _NUMBER), _NUMBER),
    (b'"obfuscation"', re.compile(rb'"obfuscation": ?"(%b)"' % _LETTERS), _LETTERS),
    (b'"p"', re.compile(rb'"p": ?"(%b)"' % _LETTERS), _LETTERS),
    (b"}\n\n", re.compile(rb"( *+)\}\n\n"), _BLANKS),
)
"""Where frames may differ without telling anything: OpenAI numbers its events and pads them with `obfuscation`, Mistral
with `p`, Anthropic with blanks in front of the last brace, and some servers tell the time with each chunk."""
_NAME: Final = re.compile(rb'"[a-z_]+": ?"')
_NONE: Final[tuple[int, list[str]]] = 0, []


class Refrain:
    """The frame that the last ones were, and the place of its one text.

    A stream of which no two frames are alike is given up.
    """

    __slots__ = ("_after", "_around", "_before", "_frames", "_least", "_lessons", "_name", "_place", "_varies")

    def __init__(self) -> None:
        self._before = self._after = self._around = self._name = b""
        self._frames = _same_frames(())
        self._least = self._place = 0
        self._varies = False
        self._lessons = _LESSONS

    @property
    def learns(self) -> bool:
        """Whether it is still worth teaching."""
        return self._lessons > 0

    def again(self, frames: bytes) -> tuple[int, list[str]]:
        """How many bytes at the start of these are the same frame again, and the texts they tell."""
        before, after = self._before, self._after
        if not before:
            return _NONE
        size, least = len(frames), len(before) + len(after)
        if not self._varies and least <= size < 2 * least and frames.startswith(before) and frames.endswith(after):
            # one frame, and nothing but its text is new: what nearly always comes alone
            try:
                text = loads_string(b'"%b"' % frames[len(before) : -len(after)])
            except JSONError:
                return self._run(frames)
            self._lessons = _LESSONS
            return size, [text]
        return self._run(frames)

    def _run(self, frames: bytes) -> tuple[int, list[str]]:
        """The same where there are many frames, or more than their text is new."""
        around = self._around
        found = self._frames.match(around + frames)
        end = 0 if found is None else found.end() - len(around)
        if found is None or not end:
            return _NONE
        try:
            if end < 2 * self._least:  # one frame
                self._varies = True
                texts = [loads_string(b'"%b"' % found[self._place])]
            else:
                texts = loads_strings(b'["%b"]' % b'","'.join(_texts_named(self._name).findall(frames, 0, end)))
        except JSONError:
            self.lost()
            return _NONE
        self._lessons = _LESSONS
        return end, texts

    def lost(self) -> None:
        """A frame has told something else."""
        self._before = b""
        self._lessons -= 1

    def learn(self, frame: bytes, text: str) -> None:
        """Begin with a whole frame, blank line included, that told this text and nothing else."""
        self.lost()
        written = dumps(text)
        before, _, after = frame.partition(written)
        around = before + after
        # where no other string is written with escapes, one that is there once is the one that was told
        if not after or written in after or b"\\" in around or b"\0" in around or not around.isascii():
            return
        name = before[before.rfind(b'"', 0, before.rfind(b'"')) :] + b'"'
        if _NAME.fullmatch(name) is None or frame.count(name) != 1:
            return
        self._name, self._before, self._after = name, before + b'"', b'"' + after
        early, spots = _cut(self._before)
        late, more_spots = _cut(self._after)
        self._frames = _same_frames((*spots, b"(%b)" % _TEXT, *more_spots))
        self._place = len(early) + len(late) + 1
        self._around = b"".join([piece + b"\0" for piece in early + late])
        self._least = sum(map(len, early + late))
        self._varies = False


def _cut(piece: bytes) -> tuple[list[bytes], list[bytes]]:
    """What always stands in this piece of a frame, and the patterns of what stands between that."""
    spots = []
    for name, place, inside in _UNREAD:
        found = place.search(piece) if name in piece else None
        if found is not None:
            spots.append((*found.span(1), inside))
    spots.sort()
    pieces, patterns, start = [], [], 0
    for first, end, inside in spots:
        pieces.append(piece[start:first])
        patterns.append(inside)
        start = end
    return [*pieces, piece[start:]], patterns


@lru_cache(maxsize=64)
def _same_frames(spots: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """As many frames as there are with these spots, and around them what is told in front, a NUL behind each piece.

    One pattern serves all streams whose frames have the same spots: to compile one for each would take longer than to
    parse them.
    """
    told = rb"([^\0]*+)\0" * (len(spots) + 1)
    frame = rb"\1" + b"".join(rb"%b\%d" % (spot, number) for number, spot in enumerate(spots, 2))
    return re.compile(rb"%b(?:%b)*+" % (told, frame))


@lru_cache(maxsize=64)
def _texts_named(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"%b(%b)" % (re.escape(name), _TEXT))
