"""``/plan``: the country's plan as a page that anyone can check, and as files.

Words are those of ``moduai.packs``; an *event* is a day on which something was said, or a status became
another. Rules: every figure leads to its source; what the documents do not give is called missing, of plans
and never of persons; sums of different people are never added; figures of this installation come from its
ledgers, and where there is no ledger the page says so. The page needs no script.
"""
