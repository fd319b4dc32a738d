"""Fuzzing of what the gateway reads from outside: clients' requests, engines' answers, bodies.

Words: an *input* is one connection's life (or one body); a *finding* is an input for which a promise
does not hold. Every input follows from a seed and a number alone, so a finding can be made again.
Rule: the code under test is the real one, without sockets; what it is judged by is written here anew
or is another parser (llhttp, the standard library's ``json``).
"""
