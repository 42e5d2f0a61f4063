#!/usr/bin/env python3
"""Writes text_scores.json: predictions, answers and their scores, by a second implementation of tasks/text_scores.h.

    python3 test/golden/make_text_scores.py
"""
import json
import pathlib
import random
import re
import string
from collections import Counter
from functools import lru_cache


def ascii_lower(text):
    return "".join(c.lower() if c in string.ascii_uppercase else c for c in text)


def normalized(text):
    kept = "".join(c for c in ascii_lower(text) if c not in set(string.punctuation))
    return " ".join(w for w in re.split(r"[ \t\n\r\f\v]+", kept) if w not in ("", "a", "an", "the"))


def f_measure(common, said, expected):
    if common == 0:
        return 0.0
    precision, recall = common / said, common / expected
    return 2 * precision * recall / (precision + recall)


def f1(said, answer):
    a, b = Counter(normalized(said).split()), Counter(normalized(answer).split())
    return f_measure(sum((a & b).values()), sum(a.values()), sum(b.values()))


def rouge_l(said, answer):
    a, b = (re.findall(r"[a-z0-9\u0080-\U0010ffff]+", ascii_lower(t)) for t in (said, answer))

    @lru_cache(None)
    def longest(i, j):
        if i == len(a) or j == len(b):
            return 0
        if a[i] == b[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    return f_measure(longest(0, 0), len(a), len(b))


def exact_match(said, answer):
    return float(normalized(said) == normalized(answer))


def classification(said, answer, classes):
    matched = [c for c in classes if c in said]
    kept = [c for c in matched if c == answer or c not in answer]
    return 1 / len(kept) if answer in kept else 0.0


def string_match(said, answers):
    return sum(ascii_lower(a) in ascii_lower(said) for a in answers) / len(answers)


def scored(said, answers, classes):
    best = lambda score: max(score(said, answer) for answer in answers)
    return {
        "prediction": said,
        "answers": answers,
        "classes": classes,
        "f1": best(f1),
        "rouge_l": best(rouge_l),
        "exact_match": best(exact_match),
        "classification": best(lambda s, a: classification(s, a, classes)),
        "string_match": string_match(said, answers),
    }


CLASSES = ["Food", "Food source", "Date", "City", "Other location", "location", "Country, city or state"]
BY_HAND = [
    ("", ["x"]),
    ("x", [""]),
    ("The the an a", ["a"]),
    ("The Eiffel Tower!", ["eiffel tower", "Tower"]),
    ("It's in Paris, France.", ["paris", "Lyon"]),
    ("Food source", ["Food source", "Food"]),
    ("Food", ["Food source"]),
    ("Other location or City", ["location"]),
    ("Date City Food", ["Date"]),
    ("one two three four five six", ["two four six eight", "six five four three two one"]),
    ("naïve café\u2014déjà vu", ["Naïve café", "CAFÉ"]),
    ("7, 12 and 34", ["7", "34", "99"]),
    ("tab\tand\nline\r\nbreaks", ["tab and line breaks"]),
    ("well-known A.B.C. don't", ["wellknown abc dont", "well known a b c don t"]),
    ("Straße ÄPFEL", ["straße äpfel"]),
]


def main():
    random.seed(7)
    words = ["the", "The", "a", "cat", "cats", "Dog.", "ran,", "ran", "-", "é", "Date", "City", "Food source", "12"]
    cases = [scored(said, answers, CLASSES) for said, answers in BY_HAND]
    for _ in range(60):
        text = lambda most: " ".join(random.choice(words) for _ in range(random.randrange(most)))
        cases.append(scored(text(14), [text(10) for _ in range(random.randrange(1, 4))], CLASSES))
    path = pathlib.Path(__file__).with_name("text_scores.json")
    path.write_text(json.dumps(cases, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
