"""The console: pages for staff, where they see how the service is and do what their role allows.

Words: a *view* is one page; a *visit* is one request for one; a *deed* is an operation that changes
something, done by a form. Rule: a page shows nothing and does nothing that is not an operation of
``web.api``: it calls them as the person who is signed in, so their permissions hold here too. Every page
works without JavaScript; the only script refreshes those of this moment.

It is imported at the first request for one of its pages.
"""
