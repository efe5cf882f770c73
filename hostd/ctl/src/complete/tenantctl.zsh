#compdef tenantctl
# Completion of tenantctl(1) for zsh(1): tenantctl itself says what may stand there.

_tenantctl() {
    local line word help
    local -a plain open plain_text open_text
    while IFS=$'\t' read -r word help; do
        if [[ $word == *= ]]; then
            open+=("$word"); open_text+=("$word  $help")
        else
            plain+=("$word"); plain_text+=("$word${help:+  -- $help}")
        fi
    done < <("${words[1]/#\~/$HOME}" complete-words "${(@)words[1,CURRENT]}" 2> /dev/null)
    (( ${#open} )) && compadd -S '' -d open_text -l -- "${(@)open}"
    (( ${#plain} )) && compadd -d plain_text -l -- "${(@)plain}"
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _tenantctl "$@"
else
    compdef _tenantctl tenantctl
fi
