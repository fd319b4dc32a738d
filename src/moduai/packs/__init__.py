"""Country packs: what is of a country and not of Modu, as data that anyone can check.

A **pack** is a folder of TOML and Markdown: languages and locale, regions and their people, offices, forms
of personal data, rules, the policy of sharing, sites and prices, and the **strategy**: what was promised,
decided, paid for and criticised. An **item** is one thing that is followed (a pledge, a programme, a
facility, a point of criticism); a **claim** is one sentence that somebody said about it, with at most one
figure, its source and its day. Where claims disagree both stand.

Rule: a pack is data from a stranger. Nothing in it is run; it is read within limits, every fault has its
file and line, and a pack with a fault is not used (fails closed).
"""
