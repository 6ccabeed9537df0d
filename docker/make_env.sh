#!/bin/sh
# Makes the secrets of a cluster, once: secrets/ and .env beside this file.
#
# compose.yaml mounts the secrets into containers whose user is another one than yours, and a mount keeps a file's
# mode. So they are readable in themselves, and it is their folder (mode 700) that keeps others on this machine out.
set -eu
umask 077
folder=$(dirname "$0")
for made in "$folder/.env" "$folder/secrets"; do
    if [ -e "$made" ]; then
        echo "make_env.sh: $made is there already, nothing is changed: a database keeps the password it was" \
            "created with. To begin anew, remove the database's volume, $folder/.env and $folder/secrets" >&2
        exit 1
    fi
done

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

mkdir "$folder/secrets"
password=$(random)
printf '%s' "$password" > "$folder/secrets/postgres_password"
printf 'postgres:5432:*:oracle:%s\n' "$password" > "$folder/secrets/pgpass"
random > "$folder/secrets/ray_token"
chmod 644 "$folder/secrets/"*
# Last: compose.yaml refuses to start without it, so what it stands for is complete.
cat > "$folder/.env" <<END
# Written by make_env.sh. No secret is in here, but where they are.
SECRETS=./secrets
# CPUs of one worker, and how many workers there are.
WORKER_CPUS=$(nproc 2>/dev/null || echo 2)
WORKERS=1
# Shared memory of one worker container, at most: README.md beside this file says what a streamed data set needs.
WORKER_SHM=8gb
# Which PyTorch the image has: cpu, or an index for CUDA such as cu130.
TORCH=cpu
END

cat <<END
Made $folder/secrets and $folder/.env. Next:
  docker compose --file $folder/compose.yaml up --detach --build
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/secrets/ray_token
  oracle submit $folder/digits-cluster.yaml --address http://127.0.0.1:8265 --follow
END
