#Requires -Version 5.1
#Requires -RunAsAdministrator

<#
.SYNOPSIS
Installs nodemeter on this host, or brings an installation up to date.

.DESCRIPTION
Copies the program, makes the service with an account of its own (NT SERVICE\nodemeter), puts that account into the groups
that may read virtual machines and performance counters, closes the data folder to others, and starts the service. Running
it again changes nothing that is right already. With a new program metering stands still for the moments of a restart,
which is a gap in the journal; what the virtual machines used meanwhile is in their counters and is metered afterwards. A
new program that does not run is taken back, and the old one meters on.

.PARAMETER InstallFolder
Where the program goes. Default: Program Files\nodemeter.

.PARAMETER NoStart
Leave the service as it is, stopped after a first installation, so that the configuration can be written first.

.EXAMPLE
.\install.ps1
#>
[CmdletBinding()]
param(
    [string] $InstallFolder = (Join-Path $env:ProgramFiles 'nodemeter'),
    [switch] $NoStart
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$dataFolder = Join-Path $env:ProgramData 'nodemeter'
$program = Join-Path $InstallFolder 'nodemeter.exe'
$configuration = Join-Path $dataFolder 'nodemeter.toml'

function Invoke-Nodemeter([string] $Executable) {
    & $Executable @args
    if ($LASTEXITCODE -ne 0) {
        throw "nodemeter $args ended with $LASTEXITCODE"
    }
}

# Before anything is changed: what runs goes on if the new program does not take the configuration that is there.
$source = Join-Path $PSScriptRoot 'nodemeter.exe'
if (Test-Path $configuration) {
    Invoke-Nodemeter $source config check $configuration
}

New-Item -ItemType Directory -Force -Path $InstallFolder | Out-Null
$installed = Get-Service -Name 'nodemeter' -ErrorAction SilentlyContinue
if ($installed -and (Test-Path $program)) {
    # In its place while it runs, then a restart; if the new program does not run, the old one is put back.
    Invoke-Nodemeter $source service upgrade $source
}
else {
    if ($installed) {
        Invoke-Nodemeter $source service stop
    }
    Copy-Item -Force $source $program
}

Invoke-Nodemeter $program service install

if (-not (Test-Path $configuration)) {
    Copy-Item (Join-Path $PSScriptRoot 'nodemeter.toml') $configuration
}

$path = [Environment]::GetEnvironmentVariable('Path', 'Machine')
if (($path -split ';') -notcontains $InstallFolder) {
    [Environment]::SetEnvironmentVariable('Path', "$($path.TrimEnd(';'));$InstallFolder", 'Machine')
}

if (-not $NoStart) {
    Invoke-Nodemeter $program service start
}
