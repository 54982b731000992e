"""Which operations do the graded families add to the primitive ones? More on lists of numbers, and on words."""

from __future__ import annotations

from tasks.generated.ops import DIGITS, FEW, OPS, Op, make_op

_MORE_LIST = (
    make_op("distinct", "list", "remove the repeats from {v}, keeping the first of each | "
            "keep the first of each equal items of {v}",
            "list(dict.fromkeys({e}))", lambda v, k: list(dict.fromkeys(v))),
    make_op("square_each", "list", "square each item of {v} | multiply each item of {v} by itself",
            "[n * n for n in {e}]", lambda v, k: [n * n for n in v]),
    make_op("keep_divisible", "list", "keep the items of {v} divisible by {k} | "
            "drop the items of {v} that {k} does not divide",
            "[n for n in {e} if n % {k} == 0]", lambda v, k: [n for n in v if n % k == 0], DIGITS),
    make_op("remainder_each", "list", "replace each item of {v} by its remainder modulo {k} | "
            "take each item of {v} modulo {k}",
            "[n % {k} for n in {e}]", lambda v, k: [n % k for n in v], DIGITS),
    make_op("alternate", "list>int", "add the first item of {v}, subtract the second, add the third and so on | "
            "get the alternating sum of {v}, starting with plus",
            "sum(n if i % 2 == 0 else -n for i, n in enumerate({e}))", lambda v, k: sum(v[::2]) - sum(v[1::2])),
    make_op("count_distinct", "list>int", "count the different items of {v} | get the number of distinct items of {v}",
            "len(set({e}))", lambda v, k: len(set(v))),
)  # fmt: skip
_WORDS = (
    make_op("reverse_each", "words", "spell each word of {v} backwards | reverse each word of {v}",
            "[w[::-1] for w in {e}]", lambda v, k: [w[::-1] for w in v]),
    make_op("reverse_order", "words", "reverse the order of the words of {v} | put the words of {v} in reverse order",
            "{e}[::-1]", lambda v, k: v[::-1], (None,), 0),
    make_op("keep_longer", "words", "keep the words of {v} with more than {k} letters | "
            "drop the words of {v} with {k} letters or fewer",
            "[w for w in {e} if len(w) > {k}]", lambda v, k: [w for w in v if len(w) > k], (3, 4)),
    make_op("sort_words", "words", "sort the words of {v} | put the words of {v} in alphabetical order",
            "sorted({e})", lambda v, k: sorted(v)),
    make_op("head", "words", "cut each word of {v} down to its first {k} letters | "
            "keep the first {k} letters of each word of {v}",
            "[w[:{k}] for w in {e}]", lambda v, k: [w[:k] for w in v], FEW),
    make_op("capital", "words", "capitalize each word of {v} | start each word of {v} with a capital letter",
            "[w.capitalize() for w in {e}]", lambda v, k: [w.capitalize() for w in v]),
    make_op("every_second", "words", "keep every second word of {v}, starting with the first | "
            "take every other word of {v}, from the first on",
            "{e}[::2]", lambda v, k: v[::2], (None,), 0),
    make_op("remove_letter", "words", "remove each letter {k} from the words of {v} | "
            "delete the letter {k} in each word of {v}",
            "[w.replace({k!r}, '') for w in {e}]", lambda v, k: [w.replace(k, "") for w in v], tuple("aeirn")),
)  # fmt: skip
SPLIT = make_op("split", "sentence>words", "split s into words at the spaces", "s.split()", lambda v, k: v.split())
JOIN = make_op("join", "words>text", "join the words of {v} with single spaces", "' '.join({e})",
               lambda v, k: " ".join(v))  # fmt: skip

FAMILY_OPS: dict[str, tuple[Op, ...]] = {**OPS, "list": OPS["list"] + _MORE_LIST, "words": _WORDS}
