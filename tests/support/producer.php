<?php
// A producer for tests: sends until a file is there, prints what became of each event.
// php producer.php SOCKET SPOOL ENOUGH
error_reporting(E_ALL);
set_error_handler(function ($level, $message, $file, $line) {
    if (error_reporting() & $level) {
        throw new ErrorException($message, 0, $level, $file, $line);
    }
});
require __DIR__ . '/../../examples/php/Leanbase.php';

list(, $socket, $spool, $enough) = $argv;
Leanbase::init('phc_app', array('socket' => $socket, 'spool' => $spool, 'timeout' => 20.0));
$ends = microtime(true) + 60; // even if who started us died
for ($number = 0; !file_exists($enough) && microtime(true) < $ends; $number++) {
    $kept = Leanbase::capture(array(
        'distinctId' => 'user-' . getmypid(),
        'event' => 'order placed',
        'properties' => array('number' => $number, 'total' => 12.5, 'text' => 'é ☃'),
    ));
    list($became, $uuid, $why) = Leanbase::$last;
    echo "$uuid $became $why\n";
    if (!$kept) {
        exit(1);
    }
    usleep($became === 'spooled' ? 50000 : 1000); // the relay is to have its share of the machine
}
