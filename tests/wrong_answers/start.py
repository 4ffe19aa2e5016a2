"""Wrong answers to the exercises of Start here."""

from wrong_answers import wrong_value

for counts, *parts in (
    ({"N": 1456, "K": 364, "M": 1092}, "counted pixels"),
    ({"N": 4368, "K": 1092, "M": 3276}, "values of all pixels"),
    ({"N": 273, "K": 68, "M": 205}, "each channel by itself"),
    ({"N": 20, "K": 5, "M": 15}, "added rows and columns"),
    ({"N": 364, "K": 91, "M": 273}, "only once"),
    ({"N": 48, "K": 12, "M": 36}, "That is P"),
    ({"N": 91, "K": 69, "M": 22}, "you counted the hidden ones"),
    ({"N": 91, "K": 23, "M": 68}, "You rounded up"),
    ({"N": 91, "K": 22.75, "M": 68.25}, "is whole"),
    ({"N": 91, "K": 22, "M": 68}, "neither visible nor hidden"),
    ({"N": 91, "K": 22, "M": ...}, "Expected a number for M"),
    ({"N": 90, "K": 22, "M": 68}, "too low for N"),
    (91, "Expected a dictionary"),
):
    wrong_value("start.counts", counts, *parts)

for choice, because, *parts in (
    ("a", "e", "does not doubt the numbers"),
    ("b", "f", "can fill in"),
    ("d", "f", "memorises"),
    ("c", "e", "chance errors"),
    ("c", "g", "same size"),
    ("h", "f", "Expected one of"),
):
    wrong_value("start.evidence", {"choice": choice, "because": because}, *parts)
