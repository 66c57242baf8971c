// DEORA under PM2, for a box that has PM2 in place of a service manager:
//   pm2 start ecosystem.config.js && pm2 save
// DEORA starts, balances and scales its own workers; PM2 keeps the supervisor alive, and does nothing else. So: one
// instance, in fork mode. Cluster mode is for programs of Node, and a second instance on one data directory is refused.

const { DEORA_PROGRAM, DEORA_FOLDER, DEORA_CONFIG, DEORA_DATA } = process.env;

module.exports = {
  apps: [
    {
      name: "deora",
      script: DEORA_PROGRAM || "/opt/deora/bin/deora",
      interpreter: "none",
      args: ["start"],
      cwd: DEORA_FOLDER || "/var/lib/deora",
      exec_mode: "fork",
      instances: 1,
      env: {
        DEORA_CONFIG: DEORA_CONFIG || "/etc/deora",
        DEORA_DATA: DEORA_DATA || "/var/lib/deora",
      },
      // The signal goes to the supervisor alone, which ends its children in order, within 10 s.
      treekill: false,
      kill_timeout: 12000,
      // Readiness would be a message of Node's; `deora health` and /health/ready tell it here.
      wait_ready: false,
      autorestart: true,
      // It never gives up, as nothing in DEORA does; it waits longer from time to time, up to 15 s.
      exp_backoff_restart_delay: 100,
      max_restarts: Number.MAX_SAFE_INTEGER,
      // PM2 would see the supervisor's memory alone. servers.json's max_memory replaces a worker that grew, without a
      // failed request; `deora reload` takes new settings in the same way.
      watch: false,
    },
  ],
};
