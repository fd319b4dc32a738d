"""Changes of a country's plan that officers propose and others accept.

Words: a *proposal* is one claim, one change of a claim's status or one revision of an item, with its source;
it is *open* until another officer has *accepted* or *rejected* it. Accepted ones are *laid over* the rows of
the pack.

Rules: who proposed does not decide. A proposal is checked as the pack itself is, when it is made and again
when it is accepted, and one that no longer fits the pack is left out and told (fails closed). Each step
stands in the audit log. Nothing is changed in the pack's files, and nothing that was decided is changed.
"""
