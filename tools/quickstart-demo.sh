# SPDX-License-Identifier: Apache-2.0
# Part of ./quickstart: the main job, shown with files of this machine.

data_mib=300
checksums=$home/demo.sha256

# show COMMAND... - one command of flockerctl, with what it prints
show() {
	echo
	echo "\$ flockerctl $*"
	"$build/cli/flockerctl" "$@" 2>&1 | tee -a "$log" | sed 's/^/  /' || fail "flockerctl said: $(tail -n 1 "$log")" \
		"./quickstart ctl show demo tells why; the nodes' logs are in $log_dir"
}

# in_demo NODE COMMAND - in the directory of the dataset as this node sees it
in_demo() {
	case $1 in
	here) (cd "/flocker/$demo" && bash -c "$2") ;;
	there) nsenter -t "$(pid_of there)" -m --wdns="/run/flocker-there/flocker/$demo" bash -c "$2" ;;
	esac
}

# The files, largest kinds of the machine first, up to $data_mib MiB; NUL between them.
choose_files() {
	find /usr/share /usr/lib /usr/bin -xdev -type f -size -20M -printf '%s %p\0' 2>/dev/null |
		awk -v RS='\0' -v ORS='\0' -v left=$((data_mib * 1024 * 1024)) \
			'{ left -= $1; if (left < 0) exit; sub(/^[0-9]+ /, ""); print }'
}

copy_in() {
	local files bytes
	in_demo here 'rm -rf usr'
	choose_files >$home/files
	tar -C / --null --files-from $home/files -cf - 2>/dev/null | tar -C "/flocker/$demo" -xf - || return
	in_demo here 'find . -type f -print0 | sort -z | xargs -0 sha256sum' >$checksums.new || return
	sync -f "/flocker/$demo"
	mv $checksums.new $checksums
	note demo copied
	files=$(wc -l <$checksums)
	bytes=$(du -sm --apparent-size "/flocker/$demo" | cut -f1)
	said="$files files, $bytes MiB"
}

check_sums() { # check_sums NODE
	in_demo "$1" "sha256sum --quiet --check $checksums" ||
		fail "files differ from what was copied in" "keep the machine as it is, and report this with $log"
	said="all $(wc -l <$checksums) checksums are right"
}

# One that was being made when an earlier run was interrupted: by its mark, since others may be called so.
marked_demo() {
	"$build/cli/flockerctl" list --json 2>/dev/null | python3 -c '
import json, sys
print(*(d["dataset_id"] for d in json.load(sys.stdin) if d["metadata"].get("made-by") == "quickstart"))'
}

find_demo() { # sets demo to the id of quickstart's own dataset; fails when there is none
	demo=$(sed -n 's/^dataset //p' $manifest | tail -n 1)
	if [ -z "$demo" ]; then
		demo=$(marked_demo)
		[ -z "$demo" ] || note dataset "$demo"
	fi
	[ -n "$demo" ] && "$build/cli/flockerctl" show "$demo" >/dev/null 2>&1
}

demonstrate() {
	if find_demo; then
		echo
		echo "The dataset of an earlier run is there: $demo"
		show move -d "$demo" -t $here --wait
	else
		show create -n $here -s 2G --name demo -m made-by=quickstart --wait
		demo=$(basename "$(readlink /flocker/datasets/by-name/demo)")
		note dataset "$demo"
	fi
	echo
	if ! is_ours demo copied; then
		do_step "Copying $data_mib MiB of /usr/share into it" copy_in
	fi
	do_step "Checking its files here" check_sums here
	show move -d "$demo" -t $there --wait
	echo
	do_step "Checking its files there" check_sums there
	show move -d "$demo" -t $here --wait
	echo
	do_step "Checking its files here again" check_sums here
	browse
	next
}

browse() {
	local file
	echo
	echo "What the node says of it, as files (/flocker/datasets/by-name/demo/):"
	for file in state why since owner epoch size used device filesystem mountpoint; do
		printf '  %-11s %s\n' "$file" "$(cat "/flocker/datasets/$demo/$file")"
	done
}

next() {
	cat <<-END

	The cluster runs. Its data is at /flocker/$demo. Three things to try:

	  sudo ./quickstart ctl move -d demo -t $there --wait
	  sudo ./quickstart there ls -l $demo
	  sudo ./quickstart ctl show demo

	./quickstart stop ends it and keeps the data, ./quickstart purge removes everything.
	END
}

# ---- purge ----

all_datasets() {
	sed -n 's/.*"dataset_id": *"\([-0-9a-f]*\)".*/\1/p' $volumes/volumes/*/meta 2>/dev/null | sort -u
}

refuse_to_destroy_users_data() {
	local id mine=()
	for id in $(all_datasets); do
		is_ours dataset "$id" || mine+=("$id")
	done
	step="Looking for data of yours"
	[ ${#mine[@]} -eq 0 ] ||
		fail "these datasets are not quickstart's: ${mine[*]}" \
			"save what you need from them; ./quickstart purge --all destroys them, too"
}

destroy_datasets() {
	local id
	pid_of control >/dev/null || { said="control does not run: their files are removed below"; return 0; }
	for id in $(all_datasets); do
		"$build/cli/flockerctl" destroy -d "$id" --wait=60 ||
			"$build/cli/flockerctl" purge "$id" --wait=60 || # it was destroyed with a window
			fail "dataset $id cannot be destroyed: $(tail -n 1 "$log")" "./quickstart ctl show $id tells why"
	done
}
