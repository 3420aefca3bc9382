"""A scripted server ordered in words: what the command lines share."""

from api.demo.fake_llm.readers import CoinReader, ConstantReader, NoisyReader, QuotedReader, ScriptedReader


def judge_of(order: str, seed: int = 0) -> ScriptedReader:
    """`quoted`, `yes`, `no`, `coin`, or `noisy:0.9,0.1` (true- and false-positive rate). Raises ValueError."""
    name, _, rates = order.partition(":")
    if name == "noisy" and rates:
        true_positive, false_positive = (float(rate) for rate in rates.split(","))
        return NoisyReader(QuotedReader(), true_positive, false_positive, seed)
    plain: dict[str, ScriptedReader] = {"quoted": QuotedReader(), "yes": ConstantReader(True), "no": ConstantReader(False), "coin": CoinReader(seed)}
    if order not in plain:
        raise ValueError(f"there is no judge {order!r}: it is quoted, yes, no, coin or noisy:TPR,FPR")
    return plain[order]
