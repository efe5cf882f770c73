# Completion of tenantctl(1) for fish(1): tenantctl itself says what may stand there.

complete --command tenantctl --no-files --arguments '(tenantctl complete-words (commandline --tokenize --current-process --cut-at-cursor) (commandline --current-token --cut-at-cursor) 2> /dev/null)'
