"""Search: passages that answer a question, best first.

Words: a *gram* is two neighbouring syllables of a Korean word (a shorter word, a foreign word or a number is
a gram as a whole); a *morpheme* is what Kiwi finds; a *term* is what a question asks for and what it weighs;
a *candidate* is a passage that shares terms with the question. Rule: the index only names candidates, and
``rank`` orders them from their own words. What was added or removed counts from the moment that the call
returns; morphemes are filled in later and may lag.
"""
