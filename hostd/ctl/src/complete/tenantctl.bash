# Completion of tenantctl(1) for bash(1): tenantctl itself says what may stand there.

_tenantctl() {
    local line=${COMP_LINE:0:COMP_POINT} word candidate kept= mark
    local -a words
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[${#words[@]}-1]}
    # Readline replaces only what follows the last of these: what precedes it stays on the line.
    for mark in = : @; do
        if [[ $COMP_WORDBREAKS == *"$mark"* && $word == *"$mark"* ]]; then
            local upto=${word%"${word##*"$mark"}"}
            (( ${#upto} > ${#kept} )) && kept=$upto
        fi
    done
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        [[ $candidate == "$kept"* ]] && COMPREPLY+=("${candidate#"$kept"}")
    done < <("${words[0]/#\~/$HOME}" complete-words "${words[@]}" 2> /dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
    return 0
}

complete -F _tenantctl tenantctl
