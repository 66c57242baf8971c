// The same as appending.py, for Node under PM2: a GET gets the bytes of BENCH_BODY's file, a PUT is appended to
// BENCH_FILE and synced. It is ready when it listens, and ends as PM2's documentation has it: after what it holds.
'use strict';

const fs = require('fs');
const http = require('http');

const body = fs.readFileSync(process.env.BENCH_BODY);
const file = fs.openSync(process.env.BENCH_FILE, 'a');
const written = Buffer.from('{"written":true}');
let ending = false;

function answer(response, status, content) {
  const headers = { 'Content-Type': 'application/json', 'Content-Length': content.length };
  if (ending) headers.Connection = 'close';
  response.writeHead(status, headers);
  response.end(content);
}

const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    if (request.method !== 'PUT') return answer(response, 200, body);
    fs.write(file, Buffer.concat([...parts, Buffer.from('\n')]), (failed) => {
      if (failed) return answer(response, 500, Buffer.alloc(0));
      fs.fdatasync(file, (unsynced) => answer(response, unsynced ? 500 : 201, unsynced ? Buffer.alloc(0) : written));
    });
  });
});

server.listen(Number(process.env.BENCH_PORT), '127.0.0.1', () => process.send('ready'));

process.on('SIGINT', () => {
  ending = true;
  server.close(() => process.exit(0));
});
