"""One line for several gateways.

Words: a *cell* is a pool of engines with one fair queue in front of it; its *dispatcher* is the process that
holds the queue; a *session* is one gateway's connection to it; a *lease* says which process is the
dispatcher, and its *epoch* is the fencing token: whoever comes later has a greater one. Rule: any gateway
takes any request, sends the dispatcher a ticket, and relays the bytes itself once a grant comes; what was
asked and what runs stands with the gateways, so a dispatcher that dies takes nothing with it. A gateway heeds
one dispatcher only, and never one of an older epoch than it has seen.
"""
