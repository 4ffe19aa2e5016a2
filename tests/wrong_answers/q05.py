"""Wrong answers to the exercise of question 5."""

from wrong_answers import wrong_value

RIGHT = {
    "patch": 8,
    "mask_ratio": 0.75,
    "encoder_sees": "visible patches",
    "width": 192,
    "depth": 4,
    "heads": 4,
    "decoder_width": 64,
    "decoder_depth": 2,
    "decoder_heads": 4,
    "target": "normalized pixels",
    "last_layer": "linear",
    "loss_on": "hidden",
    "mask": "new at each step",
    "epochs": 200,
}

for change, *parts in (
    ({"patch": 16}, "Fewer than 48 patches", "Fewer than 12 patches"),
    ({"mask_ratio": 0.9}, "Fewer than 12 patches stay visible"),
    ({"mask_ratio": 0.5}, "Less than 60 % is hidden"),
    ({"patch": 4, "width": 256, "depth": 8}, "does not fit into one night"),
    ({"decoder_width": 192, "decoder_depth": 4}, "more than a third of the operations"),
    ({"width": 64, "decoder_width": 32}, "Features of fewer than 128"),
    ({"depth": 2, "decoder_depth": 1}, "fewer than four blocks"),
    ({"epochs": 20}, "Fewer than 100 epochs"),
    ({"encoder_sees": "all, hidden ones black"}, "takes them for dark ones"),
    ({"encoder_sees": "all, hidden ones as mask tokens"}, "belong in the decoder"),
    ({"loss_on": "visible"}, "copy its input"),
    ({"loss_on": "all"}, "on copying what it sees"),
    ({"mask": "one for input, one for loss"}, "knows nothing of the mask of the input"),
    ({"mask": "one per image"}, "by heart"),
    ({"last_layer": "relu"}, "of the normalised targets are negative"),
    ({"last_layer": "relu", "target": "pixels"}, "no gradient wherever it says 0"),
    ({"loss_on": "visible", "last_layer": "relu", "mask": "one for input, one for loss"}, "(1)", "(2)", "(3)"),
    ({"patch": 10}, "can't be built", "choose a patch size"),
    ({"heads": 5}, "can't be built", "divisible"),
    ({"width": 192.0}, "Expected a whole number"),
    ({"target": "features"}, "Expected one of"),
):
    wrong_value("q05.design", RIGHT | change, *parts)
