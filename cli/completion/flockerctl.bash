# SPDX-License-Identifier: Apache-2.0
# Completion of flockerctl for bash. What may follow flockerctl itself knows: cli/ctl_complete.h.

_flockerctl() {
	local word glued= current kept= breaks=${COMP_WORDBREAKS//[^=:]/} i
	local -a words=() lines=()

	# bash takes "--wait=30" apart where flockerctl has one word, and addresses at their colons.
	for ((i = 1; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]/#\~\//$HOME/}
		if ((${#words[@]})) && [[ $glued || $word == [=:]* ]]; then
			words[-1]+=$word
		else
			words+=("$word")
		fi
		[[ $word == *[=:] ]] && glued=1 || glued=
	done
	current=${words[-1]}
	[[ $breaks && $current == *[$breaks]* ]] && kept=${current%"${current##*[$breaks]}"}

	COMPREPLY=()
	mapfile -t lines < <("$1" complete "${words[@]}" 2>/dev/null)
	case ${lines[0]-} in
	files) compopt -o default 2>/dev/null ;;
	directories) compopt -o dirnames 2>/dev/null ;;
	words)
		for word in "${lines[@]:1}"; do
			word=${word%%$'\t'*}
			COMPREPLY+=("${word#"$kept"}")
		done
		;;
	esac
}
complete -F _flockerctl flockerctl flocker-volumes
